//! [`Image`], and images on their way into the journal.
//!
//! Invariants: the thread that logs copies the pixels or the file, and encodes nothing. An image whose pixels do not fit
//! its size, or whose file is in no known form, is rejected with a warning.

use std::borrow::Cow;
use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, RgbaImage};

use super::artifact::Prepared;
use super::handle::LiveRun;
use crate::journal::Journal;
use crate::model::{ArtifactKind, ImageLayout, ImagePlace, limits};
use crate::time;
use crate::warnings::warn_user;

/// Largest file of an image, because it is decoded in memory.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Number of bytes at the beginning of a file that tell its format.
const MAGIC_BYTES: u64 = 32;
/// Longest key of a series. With all that follows the key in its names, a longer one is too long for file systems.
const MAX_KEY_BYTES: usize = 128;

/// Image to be logged: pixels with 8 bits a channel, or a file.
///
/// An image of the crate [`image`] is converted by `into()`, as are references to it. See
/// [`log_image()`](crate::log_image) for an example.
///
/// A row of [`log_table`](crate::log_table()) may hold images, which the page shows in their cells:
///
/// ```
/// use mlflow::Image;
///
/// #[derive(serde::Serialize)]
/// struct Sample<'a> { picture: Image<'a>, label: &'a str, predicted: &'a str }
///
/// # let fake = mlflow::testing::fake();
/// # let run = mlflow::start_run().start();
/// let pixels = vec![0; 28 * 28];
/// let sample = Sample { picture: Image::gray(28, 28, &pixels), label: "7", predicted: "1" };
/// mlflow::log_table([sample], "mistakes.json");
/// # drop(run);
/// # assert_eq!(fake.runs()[0].artifacts.keys().filter(|path| path.starts_with("table_images/mistakes/")).count(), 2);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(docsrs, doc(cfg(feature = "image")))]
pub struct Image<'a>(ImageContent<'a>);

#[derive(Clone, PartialEq, Eq)]
enum ImageContent<'a> {
    Pixels {
        width: u32,
        height: u32,
        channels: u8,
        pixels: Cow<'a, [u8]>,
    },
    File(PathBuf),
}

impl<'a> Image<'a> {
    /// Creates a gray image from `width * height` bytes: the rows from the top, in each the pixels from the left.
    pub fn gray(width: u32, height: u32, pixels: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::new(width, height, 1, pixels.into())
    }

    /// Creates a colour image from `width * height * 3` bytes: red, green and blue of each pixel, in the order of
    /// [`gray`](Self::gray). See [`log_image()`](crate::log_image()) for an example.
    pub fn rgb(width: u32, height: u32, pixels: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::new(width, height, 3, pixels.into())
    }

    /// Creates a colour image from `width * height * 4` bytes: red, green, blue and opacity of each pixel, in the
    /// order of [`gray`](Self::gray).
    ///
    /// ```
    /// # let fake = mlflow::testing::fake();
    /// let run = mlflow::start_run().start();
    /// let half_seen = [255, 0, 0, 128].repeat(16 * 16);
    /// run.log_image(mlflow::Image::rgba(16, 16, &half_seen), "red.png");
    /// drop(run);
    /// fake.assert_artifact_logged("red.png");
    /// ```
    pub fn rgba(width: u32, height: u32, pixels: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::new(width, height, 4, pixels.into())
    }

    /// Creates an image from a PNG, JPEG or WebP file, which is recognized by its content. The file is copied when the
    /// image is logged, and decoded in the background. A file of more than 256 MiB is rejected, as is one whose pixels take
    /// more than 512 MiB of memory.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("mlflow-doc-image-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let path = folder.join("sample.png");
    /// # image::RgbImage::new(4, 4).save(&path)?;
    /// # let fake = mlflow::testing::fake();
    /// # let run = mlflow::start_run().start();
    /// for step in 0..3 {
    ///     // ... writes the picture to `path`
    ///     mlflow::log_image_at(mlflow::Image::from_file(&path), "samples", step);
    /// }
    /// # drop(run);
    /// # assert_eq!(fake.runs()[0].artifacts.len(), 6);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Self {
        Self(ImageContent::File(path.as_ref().to_owned()))
    }

    fn new(width: u32, height: u32, channels: u8, pixels: Cow<'a, [u8]>) -> Self {
        Self(ImageContent::Pixels {
            width,
            height,
            channels,
            pixels,
        })
    }
}

impl Image<'_> {
    /// Prepares the image for an event that is written later, or returns the reason why it cannot be logged.
    pub(super) fn prepare(
        &self,
        journal: &Journal,
        place: ImagePlace,
    ) -> Result<(ArtifactKind, Prepared<'_>), Cow<'static, str>> {
        match &self.0 {
            ImageContent::Pixels {
                width,
                height,
                channels,
                pixels,
            } => {
                if let Some(fault) = find_pixels_fault(*width, *height, *channels, pixels.len()) {
                    return Err(fault.into());
                }
                let layout = ImageLayout {
                    width: *width,
                    height: *height,
                    channels: *channels,
                    place,
                };
                let prepared = Prepared::from_bytes(journal, pixels)?;
                Ok((ArtifactKind::Image(layout), prepared))
            }
            ImageContent::File(file) => {
                if let Some(fault) = find_file_fault(file) {
                    return Err(fault.into());
                }
                let (prepared, _) = Prepared::from_file(journal, file)?;
                Ok((ArtifactKind::ImageFile { place }, prepared))
            }
        }
    }
}

impl fmt::Debug for Image<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Image")
            .field(&format_args!("{self}"))
            .finish()
    }
}

impl fmt::Display for Image<'_> {
    /// Writes the size of the image, or the path of its file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ImageContent::Pixels { width, height, .. } => write!(f, "{width} × {height} pixels"),
            ImageContent::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Returns a description of what is wrong with pixels; `None` if nothing is.
fn find_pixels_fault(width: u32, height: u32, channels: u8, length: usize) -> Option<String> {
    if width == 0 || height == 0 {
        return Some(format!(
            "its size is {width} × {height} pixels, so it has none"
        ));
    }
    let expected = u128::from(width) * u128::from(height) * u128::from(channels);
    (length as u128 != expected).then(|| {
        format!(
            "its {length} bytes are no {width} × {height} pixels of {channels} bytes each, which are {expected} bytes"
        )
    })
}

/// Returns a description of what is wrong with the file of an image, as far as its first bytes tell; `None` if nothing
/// is.
fn find_file_fault(path: &Path) -> Option<String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Some(format!("{shown} is no file")),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            return Some(format!(
                "{shown} has {} bytes, and at most {MAX_FILE_BYTES} are converted; log it with log_artifact",
                metadata.len()
            ));
        }
        Ok(_) => {}
        Err(error) => return Some(format!("{shown} cannot be read: {error}")),
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAGIC_BYTES).read_to_end(&mut start));
    if let Err(error) = read {
        return Some(format!("{shown} cannot be read: {error}"));
    }
    match image::guess_format(&start) {
        Ok(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP) => None,
        _ => Some(format!("{shown} is no PNG, JPEG or WebP file")),
    }
}

impl<'a> From<&'a GrayImage> for Image<'a> {
    fn from(image: &'a GrayImage) -> Self {
        Self::gray(image.width(), image.height(), image.as_raw().as_slice())
    }
}

impl<'a> From<&'a RgbImage> for Image<'a> {
    fn from(image: &'a RgbImage) -> Self {
        Self::rgb(image.width(), image.height(), image.as_raw().as_slice())
    }
}

impl<'a> From<&'a RgbaImage> for Image<'a> {
    fn from(image: &'a RgbaImage) -> Self {
        Self::rgba(image.width(), image.height(), image.as_raw().as_slice())
    }
}

impl<'a> From<&'a DynamicImage> for Image<'a> {
    /// Converts pixels of more than 8 bits a channel to 8 bits.
    fn from(image: &'a DynamicImage) -> Self {
        match image {
            DynamicImage::ImageLuma8(image) => image.into(),
            DynamicImage::ImageRgb8(image) => image.into(),
            DynamicImage::ImageRgba8(image) => image.into(),
            other => {
                let (width, height) = (other.width(), other.height());
                match (other.color().has_color(), other.color().has_alpha()) {
                    (_, true) => Self::rgba(width, height, other.to_rgba8().into_raw()),
                    (true, false) => Self::rgb(width, height, other.to_rgb8().into_raw()),
                    (false, false) => Self::gray(width, height, other.to_luma8().into_raw()),
                }
            }
        }
    }
}

impl From<DynamicImage> for Image<'_> {
    fn from(image: DynamicImage) -> Self {
        match Image::from(&image).0 {
            ImageContent::Pixels {
                width,
                height,
                channels,
                pixels,
            } => Self::new(width, height, channels, pixels.into_owned().into()),
            ImageContent::File(path) => Self(ImageContent::File(path)),
        }
    }
}

impl LiveRun<'_> {
    /// Logs an image under a path of its own.
    pub(super) fn log_image(&self, image: &Image<'_>, artifact_file: &str) {
        let mut path = Cow::Borrowed(artifact_file);
        if !artifact_file.to_ascii_lowercase().ends_with(".png") {
            path = format!("{artifact_file}.png").into();
        }
        let Some(stored) = self.stored_path("image", &path) else {
            return;
        };
        if path != artifact_file {
            warn_user(format_args!(
                "image {artifact_file:?} is stored as {path:?}, because images are stored as PNG"
            ));
        }
        self.log_content(image, &stored, ImagePlace::Artifact);
    }

    /// Logs an image of the series `key`, under the path by which the page finds its key and step.
    pub(super) fn log_image_at(&self, image: &Image<'_>, key: &str, step: i64) {
        let name = series_name(key);
        let shown = name.replace('~', "/");
        if shown != key {
            warn_user(format_args!(
                "image {key:?} is stored under the key {shown:?}: the page of MLflow shows keys of the letters a to z, digits, \
                 `_`, `-`, `.`, `/` and spaces, and a key has at most {MAX_KEY_BYTES} characters"
            ));
        }
        let (now_ms, unique) = (time::now_ms(), uuid::Uuid::new_v4());
        let path = format!("images/{name}+step+{step}+timestamp+{now_ms}+{unique}.png");
        self.log_content(image, &path, ImagePlace::Series);
    }

    fn log_content(&self, image: &Image<'_>, path: &str, place: ImagePlace) {
        match image.prepare(self.tracker.journal(), place) {
            Ok((kind, prepared)) => self.log_prepared(kind, path, prepared),
            Err(fault) => self
                .tracker
                .warn_rejected("image", path, format_args!("{fault}")),
        }
    }
}

/// Returns the key of a series as it is written into the names of its images. A key that is changed gets a hash, by
/// which two such series stay two.
// Input:  `val/cat`  Output: `val~cat`
// Input:  `val#cat`  Output: `val_cat_5d0f1a2b`
fn series_name(key: &str) -> String {
    // Before characters are replaced, as a credential is known by those around it.
    let masked = limits::mask_key(key);
    let shown = masked.as_deref().unwrap_or(key);
    let is_kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '/');
    let mut name: String = shown
        .chars()
        .map(|c| if is_kept(c) { c } else { '_' })
        .collect();
    name.truncate(MAX_KEY_BYTES);
    if name != key || key.is_empty() {
        name = format!("{name}_{:08x}", crc32c::crc32c(key.as_bytes()));
    }
    name.replace('/', "~")
}
