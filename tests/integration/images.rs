//! Images: read back by Python, under the names by which MLflow's page finds them.

use std::collections::BTreeSet;
use std::fs;

use mlflow::testing::fake;
use mlflow::{Image, start_run};
use serde_json::{Value, json};

use crate::support::mlflow::{Server, python};
use crate::support::program::Folder;
use crate::support::unique;
use crate::support::warnings;

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// Returns the images of the only run of an experiment, opened by Python, and the tag that shows them.
fn read_with_python(uri: &str, experiment: &str) -> Value {
    const SCRIPT: &str = r#"
import json, os, sys, mlflow
from PIL import Image
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[2])
run, = client.search_runs([experiment.experiment_id])
root = client.download_artifacts(run.info.run_id, "")
images = []
for folder, _, names in os.walk(root):
    for name in names:
        path = os.path.join(folder, name)
        image = Image.open(path)
        pixel = image.convert("RGB").getpixel((0, 0))
        images.append([os.path.relpath(path, root), image.format, image.size, list(pixel)])
print(json.dumps({"images": sorted(images), "tag": run.data.tags.get("mlflow.loggedImages")}))
"#;
    serde_json::from_str(&python(SCRIPT, &[uri, experiment])).expect("JSON")
}

#[test]
fn python_opens_images_from_a_file_and_from_a_server() {
    let server = Server::shared();
    let experiment = unique();
    for server_url in [None, Some(server.url())] {
        let folder = Folder::new();
        let file = format!("sqlite:///{}", folder.path().join("mlflow.db").display());
        let uri = server_url.unwrap_or(&file);
        let environment = [
            ("MLFLOW_TRACKING_URI", uri),
            ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
        ];
        let photo = folder.path().join("photo.jpeg");
        let gray = image::RgbImage::from_pixel(16, 8, image::Rgb([120; 3]));
        gray.save(&photo).unwrap();
        let photo_step = format!("photo {} photos 3", photo.display());
        // A process that dies leaves its pixels and files to the next one.
        let steps = [
            "start one",
            "picture plots/red.png 512",
            "sample digits/a 0",
            "sample digits/a 7",
            &photo_step,
            "abort",
        ];
        let died = folder.run(SCRIPTED, &steps, &environment);
        assert!(!died.success);
        fs::remove_file(&photo).unwrap();
        let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
        assert!(ended.stdout.contains("complete true"), "{}", ended.stderr);
        let read = read_with_python(uri, &experiment);
        assert_eq!(read["tag"], "True");
        let images = read["images"].as_array().expect("images");
        assert_eq!(images.len(), 7, "{images:?}");
        let rest = |image: &Value| Value::from(image.as_array().expect("fields")[1..].to_vec());
        for (step, small, whole) in [(0, &images[0], &images[1]), (7, &images[2], &images[3])] {
            let stem = format!("images/digits~a+step+{step}+timestamp+");
            let name = |image: &Value| image[0].as_str().expect("a name").to_owned();
            let unique = name(whole);
            let unique = unique
                .strip_prefix(&stem)
                .and_then(|rest| rest.strip_suffix(".png"))
                .expect("MLflow's name of an image");
            assert_eq!(name(small), format!("{stem}{unique}+compressed.webp"));
            assert_eq!(rest(whole), json!(["PNG", [4, 2], [step, step, step]]));
            assert_eq!(rest(small), json!(["WEBP", [256, 128], [step, step, step]]));
        }
        assert_eq!(rest(&images[5]), json!(["PNG", [16, 8], [120, 120, 120]]));
        assert_eq!(
            rest(&images[4]),
            json!(["WEBP", [256, 128], [120, 120, 120]])
        );
        assert_eq!(
            images[6],
            json!(["plots/red.png", "PNG", [512, 512], [200, 0, 0]])
        );
    }
}

#[test]
fn images_of_the_crate_image_keep_their_kind_of_pixels() {
    let fake = fake();
    let run = start_run().start();
    let rgba = image::RgbaImage::from_pixel(3, 2, image::Rgba([1, 2, 3, 4]));
    run.log_image(&rgba, "rgba.png");
    run.log_image(image::DynamicImage::new_luma16(2, 2), "gray.png");
    run.log_image(image::DynamicImage::new_rgb32f(2, 2), "colour.PNG");
    drop(run);
    let artifacts = &fake.runs()[0].artifacts;
    let open = |path: &str| image::load_from_memory(&artifacts[path]).expect("an image");
    assert_eq!(open("rgba.png").into_rgba8(), rgba);
    assert_eq!(open("gray.png").color(), image::ColorType::L8);
    assert_eq!(open("colour.PNG").color(), image::ColorType::Rgb8);
}

#[test]
fn an_image_without_its_pixels_costs_one_line() {
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = start_run().start();
        run.log_image(Image::rgb(0, 0, vec![]), "none.png");
        run.log_image(Image::rgba(2, 2, &[0; 15][..]), "short.png");
        run.log_image_at(Image::gray(1, 1, &[0][..]), "ä/b", 1);
        run.log_image(Image::gray(1, 1, &[0][..]), "small");
        drop(run);
        fake.runs()
    });
    let names: Vec<_> = runs[0].artifacts.keys().collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[0].starts_with("images/_~b_"), "{names:?}");
    assert!(names[2] == "small.png", "{names:?}");
    let warnings = warnings.join("\n");
    assert!(warnings.contains("0 × 0 pixels"), "{warnings}");
    assert!(
        warnings.contains("15 bytes are no 2 × 2 pixels") && warnings.contains("16 bytes"),
        "{warnings}"
    );
}

#[test]
fn the_file_of_an_image_is_converted_unless_it_is_a_png() {
    let folder = tempfile::tempdir().unwrap();
    let pixels = image::RgbImage::from_pixel(3, 2, image::Rgb([1, 2, 3]));
    let path = |name: &str| folder.path().join(name);
    pixels.save(path("a.png")).unwrap();
    // The content counts, not the name.
    pixels
        .save_with_format(path("b.png"), image::ImageFormat::WebP)
        .unwrap();
    let fake = fake();
    let run = start_run().start();
    run.log_image(Image::from_file(path("a.png")), "a.png");
    run.log_image(Image::from_file(path("b.png")), "b.png");
    fs::remove_file(path("b.png")).unwrap();
    drop(run);
    let artifacts = &fake.runs()[0].artifacts;
    assert_eq!(artifacts["a.png"], fs::read(path("a.png")).unwrap());
    let format = image::guess_format(&artifacts["b.png"]).unwrap();
    assert_eq!(format, image::ImageFormat::Png);
    let converted = image::load_from_memory(&artifacts["b.png"]).unwrap();
    assert_eq!(converted.into_rgb8(), pixels);
}

#[test]
fn a_file_that_is_no_image_costs_one_line_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    image::RgbImage::new(64, 64)
        .save(path("whole.png"))
        .unwrap();
    let bytes = fs::read(path("whole.png")).unwrap();
    let large = fs::File::create(path("large.png")).unwrap();
    large.set_len((256 << 20) + 1).unwrap();
    fs::write(path("torn.png"), &bytes[..40]).unwrap();
    fs::write(path("text.png"), "no image").unwrap();
    fs::write(path("empty.png"), "").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo.png"), rustix::fs::Mode::RUSR).unwrap();
    let bad = [
        "large.png",
        "torn.png",
        "text.png",
        "empty.png",
        "fifo.png",
        "missing.png",
        ".",
    ];
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = start_run().start();
        for name in bad {
            run.log_image_at(Image::from_file(path(name)), "bad", 1);
        }
        run.log_image(Image::from_file(path("whole.png")), "whole.png");
        drop(run);
        fake.runs()
    });
    let names: Vec<_> = runs[0].artifacts.keys().collect();
    assert_eq!(names, ["whole.png"]);
    let text = warnings.join("\n");
    for name in ["text.png", "empty.png"] {
        let line = format!("{} is no PNG, JPEG or WebP file", path(name).display());
        assert!(text.contains(&line), "{text}");
    }
    assert!(text.contains("large.png has 268435457 bytes"), "{text}");
    assert!(text.contains("fifo.png is no file"), "{text}");
    assert!(text.contains("missing.png cannot be read"), "{text}");
    assert!(text.contains("it cannot be decoded"), "{text}");
}

/// Row of a table with pictures.
#[derive(serde::Serialize)]
struct Sample<'a> {
    id: u32,
    picture: Option<Image<'a>>,
    nested: Vec<Image<'a>>,
}

#[test]
fn python_and_the_page_find_images_in_the_cells_of_a_table() {
    const SCRIPT: &str = r#"
import json, sys, mlflow
from PIL import Image
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name(sys.argv[2])
run, = client.search_runs([experiment.experiment_id])
table = client.load_table(experiment.experiment_id, "sub/eval.json")
def opened(cell):
    assert list(cell) == ["type", "filepath", "compressed_filepath"] and cell["type"] == "image", cell
    stem = cell["filepath"].removesuffix(".png")
    assert stem.startswith("table_images/sub/eval/") and cell["compressed_filepath"] == stem + ".webp", cell
    images = [Image.open(client.download_artifacts(run.info.run_id, cell[key])) for key in ["filepath", "compressed_filepath"]]
    return [[image.format, image.size, image.convert("RGB").getpixel((0, 0))] for image in images]
print(json.dumps([[row.id, opened(row.picture)] for row in table.itertuples()]))
"#;
    let server = Server::shared();
    let experiment = unique();
    for server_url in [None, Some(server.url())] {
        let folder = Folder::new();
        let file = format!("sqlite:///{}", folder.path().join("mlflow.db").display());
        let uri = server_url.unwrap_or(&file);
        let environment = [
            ("MLFLOW_TRACKING_URI", uri),
            ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
        ];
        // A process that dies leaves its rows and pixels to the next one.
        let steps = ["start one", "pictures sub/eval.json 0 3", "abort"];
        let died = folder.run(SCRIPTED, &steps, &environment);
        assert!(!died.success);
        let ended = folder.run(SCRIPTED, &["recover 60"], &environment);
        assert!(ended.stdout.contains("complete true"), "{}", ended.stderr);
        let read: Value = serde_json::from_str(&python(SCRIPT, &[uri, &experiment])).expect("JSON");
        let images = |id: u8| {
            json!([
                ["PNG", [4, 2], [id, id, id]],
                ["WEBP", [256, 128], [id, id, id]]
            ])
        };
        let row = |id: u8| json!([id, images(id)]);
        assert_eq!(read, json!([row(0), row(1), row(2)]), "{uri}");
    }
}

#[test]
fn an_image_that_cannot_be_logged_costs_its_cell_and_nothing_else() {
    let gray = |pixels: &'static [u8]| Image::gray(1, 1, pixels);
    let sample = |id, picture| Sample {
        id,
        picture,
        nested: vec![gray(&[5]), gray(&[])],
    };
    let fake = fake();
    let (runs, warnings) = warnings::capture(|| {
        let run = start_run().start();
        run.log_table([sample(1, Some(gray(&[1, 2]))), sample(2, None)], "t.json");
        run.log_table([Image::from_file("/missing.png"), gray(&[7])], "plain.json");
        run.log_table([Unwritable(gray(&[3]))], "t.json");
        // Elsewhere, an image is a text: also in a row that was made before the call.
        let made: Value = json!({"picture": gray(&[4]), "id": 3});
        run.log_table([made], "made.json");
        run.log_dict(&sample(3, Some(gray(&[1]))), "config.json");
        run.log_param("after", 1);
        drop(run);
        fake.runs()
    });
    let artifacts = &runs[0].artifacts;
    let table = |path: &str| -> Value { serde_json::from_slice(&artifacts[path]).expect("JSON") };
    let rows = table("t.json");
    assert_eq!(rows["columns"], json!(["id", "picture", "nested"]));
    for (row, id) in [(&rows["data"][0], 1), (&rows["data"][1], 2)] {
        assert_eq!(row[0], json!(id));
        assert_eq!(row[1], Value::Null);
        assert!(artifacts.contains_key(row[2][0]["filepath"].as_str().expect("a path")));
        assert_eq!(row[2][1], Value::Null);
    }
    let plain = table("plain.json");
    assert_eq!(plain["columns"], json!(["0"]));
    assert_eq!(plain["data"][0], json!([null]));
    assert_eq!(plain["data"][1][0]["type"], "image");
    assert_eq!(table("made.json")["data"], json!([[3, "1 × 1 pixels"]]));
    assert_eq!(table("config.json")["picture"], "1 × 1 pixels");
    assert_eq!(runs[0].params["after"], "1");
    // Three tables and a file, with an image and its small copy for each cell that has one.
    assert_eq!(artifacts.len(), 4 + 2 * 3, "{:?}", artifacts.keys());
    let text = warnings.join("\n");
    assert!(
        text.contains("image of the table \"t.json\"")
            && text.contains("a cell of row 0 is null")
            && text.contains("its 2 bytes are no 1 × 1"),
        "{text}"
    );
    assert!(text.contains("/missing.png cannot be read"), "{text}");
    assert!(text.contains("row 0 is left out"), "{text}");
}

/// The line is looked for in a process of its own: a process issues only so many of them.
#[test]
fn an_image_that_no_table_keeps_is_one_line() {
    let folder = Folder::new();
    let uri = format!("sqlite:///{}", folder.path().join("mlflow.db").display());
    let steps = ["start one", "pictured a.json", "pictured b.json", "end one"];
    let ended = folder.run(SCRIPTED, &steps, &[("MLFLOW_TRACKING_URI", &uri)]);
    assert!(ended.success, "{}", ended.stderr);
    let warnings = ended.warnings();
    let line = "an image (4 × 2 pixels) was written as a text, so its pixels are not kept";
    assert!(
        warnings.len() == 1 && warnings[0].contains(line),
        "{}",
        ended.stderr
    );
}

/// Row whose image is written before the row fails.
struct Unwritable<'a>(Image<'a>);

impl serde::Serialize for Unwritable<'_> {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        serde_json::to_value(&self.0).map_err(serde::ser::Error::custom)?;
        Err(serde::ser::Error::custom("this row fails"))
    }
}

/// Regression: such an image was looked for in its row by a text with another order of keys, and not found.
#[test]
fn a_row_that_writes_its_image_through_another_form_keeps_it() {
    struct Sorted<'a>(Image<'a>);
    impl serde::Serialize for Sorted<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            json!({"picture": self.0, "id": 1}).serialize(serializer)
        }
    }
    let fake = fake();
    let run = start_run().start();
    let rows = [
        Sorted(Image::gray(1, 1, &[1][..])),
        Sorted(Image::gray(0, 0, &[][..])),
    ];
    run.log_table(rows, "t.json");
    drop(run);
    let artifacts = &fake.runs()[0].artifacts;
    let table: Value = serde_json::from_slice(&artifacts["t.json"]).unwrap();
    let cell = &table["data"][0][1];
    assert!(
        artifacts.contains_key(cell["filepath"].as_str().unwrap()),
        "{table}"
    );
    assert_eq!(table["data"][1], json!([1, null]));
}

#[test]
fn the_debug_output_of_an_image_has_none_of_its_pixels() {
    let printed = format!("{:?}", Image::gray(2, 2, &[77; 4][..]));
    assert_eq!(printed, "Image(2 × 2 pixels)");
}

/// Regression: such series became one, and a long key cost its images.
#[test]
fn two_series_whose_keys_are_changed_stay_two() {
    let folder = Folder::new();
    let uri = format!("sqlite:///{}", folder.path().join("mlflow.db").display());
    let experiment = unique();
    let environment = [
        ("MLFLOW_TRACKING_URI", uri.as_str()),
        ("MLFLOW_EXPERIMENT_NAME", experiment.as_str()),
    ];
    let keys = ["a#b", "a?b", "a_b", "a~b", "a/b", ""].map(str::to_owned);
    let keys = [&keys[..], &["k".repeat(300), "k".repeat(301)]].concat();
    let samples = keys.iter().map(|key| format!("sample {key} 1"));
    let steps: Vec<_> = { ["start one".to_owned()].into_iter() }
        .chain(samples)
        .chain(["end one".to_owned()])
        .collect();
    let steps: Vec<_> = steps.iter().map(String::as_str).collect();
    let ended = folder.run(SCRIPTED, &steps, &environment);
    assert!(ended.success, "{}", ended.stderr);
    assert_eq!(ended.warnings().len(), 6, "{}", ended.stderr);
    let read = read_with_python(&uri, &experiment);
    let images = read["images"].as_array().expect("images");
    let series: BTreeSet<_> = { images.iter() }
        .filter_map(|image| image[0].as_str()?.split_once("+step+"))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(series.len(), keys.len(), "{series:?}");
    assert!(series.contains("images/a_b") && series.contains("images/a~b"));
}
