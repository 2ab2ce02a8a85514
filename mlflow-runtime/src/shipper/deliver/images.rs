//! Upload of images, which are encoded here and not on the thread that logs.
//!
//! Invariants: an image is encoded anew at each attempt, into the same bytes. A program that is built without the
//! feature `image` leaves the images of other programs in their journals, for one that can encode them.
//!
//! An image by step and an image in a table are stored twice, as MLflow's `log_image` and `log_table` do: as PNG, and as
//! a WebP of 256 pixels for the page. A tag tells the page that the run has images by step.

use crate::model::ImageForm;
#[cfg(feature = "image")]
use crate::model::ImagePlace;
use crate::shipper::batch::Artifact;
use crate::shipper::deliver::delivery::Delivery;
use crate::store::{StoreError, StoredRun};

impl Delivery {
    /// Encodes and uploads an image.
    #[cfg(not(feature = "image"))]
    #[allow(clippy::unused_async)] // the signature of the other version
    pub(in crate::shipper) async fn put_image(
        &self,
        _run: &StoredRun,
        artifact: &Artifact,
        _form: ImageForm,
    ) -> Result<(), StoreError> {
        Err(StoreError::Blocked {
            reason: format!(
                "the image `{}` can be sent by a program that is built with the feature `image` of mlflow-runtime, or by \
                 `cargo mlflow sync`",
                artifact.path
            )
            .into(),
            everything: false,
        })
    }

    /// Encodes and uploads an image.
    #[cfg(feature = "image")]
    pub(in crate::shipper) async fn put_image(
        &self,
        run: &StoredRun,
        artifact: &Artifact,
        form: ImageForm,
    ) -> Result<(), StoreError> {
        let rejected = |fault: String| StoreError::Rejected {
            reason: fault.into(),
        };
        let bytes = artifact
            .read()
            .map_err(|error| rejected(format!("its copy cannot be read: {error}")))?;
        let encode_error = |error| rejected(format!("it cannot be encoded: {error}"));
        let (image, png, place) = match form {
            ImageForm::Pixels(layout) => {
                let image = encode::from_pixels(bytes, layout)
                    .ok_or_else(|| rejected("its pixels are damaged".to_owned()))?;
                let png = encode::to_png(&image).map_err(encode_error)?;
                (image, png, layout.place)
            }
            ImageForm::File { place } => {
                let image = encode::decode(&bytes)
                    .map_err(|error| rejected(format!("it cannot be decoded: {error}")))?;
                let png = if encode::is_png(&bytes) {
                    bytes
                } else {
                    encode::to_png(&image).map_err(encode_error)?
                };
                (image, png, place)
            }
        };
        let thumbnail_path = thumbnail_path(&artifact.path, place);
        let thumbnail = { thumbnail_path.as_ref() }.map(|_| encode::to_thumbnail(&image));
        // The pixels of a large image take much memory, and the upload may take long.
        drop(image);
        self.put_bytes(run, &artifact.path, png).await?;
        if let Some(path) = thumbnail_path
            && let Some(webp) = thumbnail.transpose().map_err(encode_error)?
        {
            self.put_bytes(run, &path, webp).await?;
        }
        if place == ImagePlace::Series {
            let tags = [crate::model::Tag {
                key: crate::model::tag_keys::LOGGED_IMAGES.to_owned(),
                value: "True".to_owned(),
            }];
            let batch = crate::store::Batch::of_tags(&tags);
            self.store.log_batch(run, &batch).await?;
        }
        Ok(())
    }

    #[cfg(feature = "image")]
    async fn put_bytes(
        &self,
        run: &StoredRun,
        path: &str,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        let content = crate::store::ArtifactContent::Bytes(bytes.into());
        self.store.put_artifact(run, path, content).await
    }
}

/// Returns the path of the small copy of an image; `None` for an image that has none.
// Input:  `images/cats+step+1+timestamp+5+1f0c.png`
// Output: `images/cats+step+1+timestamp+5+1f0c+compressed.webp`
#[cfg(feature = "image")]
fn thumbnail_path(path: &str, place: ImagePlace) -> Option<String> {
    let stem = path.strip_suffix(".png").unwrap_or(path);
    match place {
        ImagePlace::Artifact => None,
        ImagePlace::Series => Some(format!("{stem}+compressed.webp")),
        ImagePlace::TableCell => Some(format!("{stem}.webp")),
    }
}

#[cfg(feature = "image")]
mod encode {
    use std::io::Cursor;

    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    use image::codecs::webp::WebPEncoder;
    use image::{
        DynamicImage, GrayImage, ImageFormat, ImageReader, ImageResult, RgbImage, RgbaImage,
        imageops,
    };

    use crate::model::ImageLayout;

    /// Greatest width and height of the small copy, as in MLflow (`COMPRESSED_IMAGE_SIZE`).
    const THUMBNAIL_PIXELS: u32 = 256;

    /// Returns the image that the pixels are; `None` if their number does not match.
    pub(super) fn from_pixels(pixels: Vec<u8>, layout: ImageLayout) -> Option<DynamicImage> {
        let ImageLayout {
            width,
            height,
            channels,
            place: _,
        } = layout;
        match channels {
            1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
            3 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
            4 => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8),
            _ => None,
        }
    }

    /// Returns the image that the bytes of a file are.
    pub(super) fn decode(file: &[u8]) -> ImageResult<DynamicImage> {
        ImageReader::new(Cursor::new(file))
            .with_guessed_format()?
            .decode()
    }

    pub(super) fn is_png(file: &[u8]) -> bool {
        image::guess_format(file).is_ok_and(|format| format == ImageFormat::Png)
    }

    pub(super) fn to_png(image: &DynamicImage) -> ImageResult<Vec<u8>> {
        let mut bytes = Vec::new();
        let (compression, filter) = (CompressionType::Fast, FilterType::Adaptive);
        image.write_with_encoder(PngEncoder::new_with_quality(
            &mut bytes,
            compression,
            filter,
        ))?;
        Ok(bytes)
    }

    /// Returns a WebP whose longer side has [`THUMBNAIL_PIXELS`] pixels; a smaller image is scaled up.
    pub(super) fn to_thumbnail(image: &DynamicImage) -> ImageResult<Vec<u8>> {
        let longer = u64::from(image.width().max(image.height()).max(1));
        let scaled = |side: u32| {
            let side = u64::from(side) * u64::from(THUMBNAIL_PIXELS) / longer;
            u32::try_from(side).unwrap_or(THUMBNAIL_PIXELS).max(1)
        };
        let (width, height) = (scaled(image.width()), scaled(image.height()));
        let small = image.resize_exact(width, height, imageops::FilterType::Triangle);
        let mut bytes = Vec::new();
        // The encoder takes no gray image with its own kind of pixels.
        let small = DynamicImage::ImageRgba8(small.into_rgba8());
        small.write_with_encoder(WebPEncoder::new_lossless(&mut bytes))?;
        Ok(bytes)
    }
}
