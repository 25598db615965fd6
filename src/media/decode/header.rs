//! What a file says about itself before any pixel is decoded, and whether that can become an image of a model.

use image::{ColorType, ImageDecoder, ImageFormat};

use crate::{
    domain::image::ImageShape,
    media::{
        MediaError, convert,
        error::of_size,
        resize::{self, Resize, Resizer, Window},
    },
};

use super::{
    Cost, DecodeLimits, DecodeOptions, Frames,
    cancellation::{Cancellable, Cancellation},
    canvas::Canvas,
    container,
    format::{corrupt, format, name, open},
    jpeg,
    orientation::Orientation,
    png,
};

/// A file's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) format: ImageFormat,
    /// Columns as stored.
    pub(super) width: u32,
    /// Rows as stored.
    pub(super) height: u32,
    /// What the decoder gives for one pixel.
    pub(super) colour: ColorType,
    pub(super) frames: u64,
    /// What the file asks for.
    pub(super) orientation: Orientation,
    /// What is done about it.
    pub(super) applied: Orientation,
    /// Bytes that decoding one frame holds at once, beside the file and the model's image.
    held: u64,
}

impl Header {
    /// Reads the header of a file.
    pub(super) fn read(bytes: &[u8], options: DecodeOptions) -> Result<Self, MediaError> {
        let format = format(bytes)?;
        if format == ImageFormat::Tiff && !container::tiff_values_fit(bytes) {
            return Err(corrupt(
                format,
                "its directory promises more values than the file has bytes",
            ));
        }
        let ((width, height), colour) = match format {
            ImageFormat::Png => png::header(bytes)?,
            ImageFormat::Jpeg => jpeg::header(bytes)?,
            _ => {
                let cancellation = Cancellation::new(&|| false);
                let decoder = open(Cancellable::new(bytes, &cancellation), format, u64::MAX)
                    .map_err(|error| corrupt(format, error))?;
                (decoder.dimensions(), decoder.color_type())
            }
        };
        if width == 0 || height == 0 {
            return Err(corrupt(format, "it has no pixels"));
        }
        let (frames, orientation) = match format {
            ImageFormat::Png => (container::png_frames(bytes), container::png_orientation(bytes)),
            ImageFormat::Jpeg => (1, container::jpeg_orientation(bytes)),
            ImageFormat::Gif => (container::gif_frames(bytes), Orientation::default()),
            ImageFormat::WebP => (container::webp_frames(bytes), container::webp_orientation(bytes)),
            ImageFormat::Tiff => (container::tiff_pages(bytes).count() as u64, Orientation::of_exif(bytes)),
            ImageFormat::Pnm => (container::pnm_images(bytes).count() as u64, Orientation::default()),
            _ => (1, Orientation::default()),
        };
        let pixels = u64::from(width) * u64::from(height);
        let size = u64::from(colour.bytes_per_pixel());
        let held = match format {
            ImageFormat::Png if options.frames != Frames::All || frames == 1 => {
                png::held(width, height, size)
                    + if options.resize.is_some() {
                        png::gathered(bytes, pixels, size)
                    } else {
                        0
                    }
            }
            // Two canvases and a frame.
            ImageFormat::Png => pixels.saturating_mul(12),
            // Its coefficients too, if it is progressive.
            ImageFormat::Jpeg => pixels.saturating_mul(size + 2 * size),
            ImageFormat::WebP | ImageFormat::Gif => pixels.saturating_mul(12),
            // The decoder copies the picture, and a strip may hold it a third time.
            ImageFormat::Tiff => pixels.saturating_mul(3 * size),
            _ => pixels.saturating_mul(size),
        };
        Ok(Self {
            format,
            width,
            height,
            colour,
            frames,
            orientation,
            applied: if options.orient {
                orientation
            } else {
                Orientation::default()
            },
            held,
        })
    }

    /// Columns and rows as the model is to see them.
    pub(super) fn seen(&self) -> (u32, u32) {
        self.applied.turn((self.width, self.height))
    }

    /// Bytes that a decoder of whole pictures may allocate: its estimate, and room for what does not grow with the
    /// picture.
    pub(super) fn max_alloc(&self) -> u64 {
        self.held.saturating_add(1 << 20)
    }

    /// What decoding costs, or why the image is refused without decoding it.
    pub(super) fn check(
        &self,
        shape: ImageShape,
        options: DecodeOptions,
        limits: DecodeLimits,
    ) -> Result<Cost, MediaError> {
        let (width, height) = self.seen();
        let limit = limits.max_pixels.min(resize::MAX_PIXELS);
        let pixels = u64::from(width) * u64::from(height);
        if pixels > limit {
            return Err(MediaError::TooManyPixels { width, height, limit });
        }
        if self.frames > 1 && options.frames == Frames::Only {
            return Err(MediaError::Frames {
                format: name(self.format),
                count: self.frames,
            });
        }
        let frames = if options.frames == Frames::All { self.frames } else { 1 };
        // No overflow: frames are counted in 32 bits, and a frame has at most 2³⁰ pixels.
        if frames > limits.max_frames as u64 || frames * pixels > limit {
            return Err(MediaError::TooManyFrames {
                count: frames,
                pixels,
                max_frames: limits.max_frames,
                max_pixels: limit,
            });
        }
        let shape = self.shape(shape, options)?;
        let fits = self.fits(shape, options);
        let resizing = match options.resize {
            Some(resize) if !fits => {
                let target = self.applied.turn((shape.width(), shape.height()));
                Resizer::bytes(
                    self.width as usize,
                    self.window(resize, shape),
                    target,
                    shape.channels(),
                )
            }
            _ => 0,
        };
        let held = self.held.saturating_add(resizing);
        if held > limits.max_bytes() {
            return Err(MediaError::TooMuchMemory {
                bytes: held,
                limit: limits.max_bytes(),
            });
        }
        if !fits && options.resize.is_none() {
            return Err(MediaError::Size { width, height, shape });
        }
        self.check_values(shape, options)?;
        Ok(Cost {
            pixels: frames * pixels,
            bytes: held,
        })
    }

    /// A canvas for one frame of the file, which was found acceptable.
    pub(super) fn canvas(&self, shape: ImageShape, options: DecodeOptions) -> Canvas {
        let size = (self.width as usize, self.height as usize);
        let resizer = (!self.fits(shape, options)).then(|| {
            // Everything is done on the image as it is stored; only the model's image is turned.
            let target = self.applied.turn((shape.width(), shape.height()));
            let resize = options.resize.unwrap_or_default();
            let window = self.window(resize, shape);
            Resizer::new(resize.filter, size, window, target, shape.channels())
        });
        Canvas::new(size, self.applied, shape, options.convert, resizer)
    }

    /// Where the model's image lies in the resized one, as the file is stored.
    fn window(&self, resize: Resize, shape: ImageShape) -> Window {
        let (width, height) = self.seen();
        let target = (shape.width(), shape.height());
        let seen = resize.window((width as usize, height as usize), target);
        self.applied.window(seen, target)
    }

    /// The shape of the image that the file becomes.
    pub(super) fn shape(&self, wanted: ImageShape, options: DecodeOptions) -> Result<ImageShape, MediaError> {
        let (width, height) = self.seen();
        if options.any_size {
            of_size(wanted, width as usize, height as usize)
        } else {
            Ok(wanted)
        }
    }

    /// Whether the image is taken pixel by pixel.
    fn fits(&self, shape: ImageShape, options: DecodeOptions) -> bool {
        let (width, height) = self.seen();
        let is_cut = options.resize.is_some_and(|resize| resize.short_side.is_some());
        !is_cut && (width as usize, height as usize) == (shape.width(), shape.height())
    }

    /// Refuses what only a conversion could make fit, as far as the header tells.
    fn check_values(&self, shape: ImageShape, options: DecodeOptions) -> Result<(), MediaError> {
        let channels = self.colour.channel_count();
        let bits = u32::from(self.colour.bytes_per_pixel()) * 8 / u32::from(channels);
        if bits > 16 {
            return Err(MediaError::Floats);
        }
        if options.convert {
            return Ok(());
        }
        if bits != 8 {
            return Err(MediaError::Depth {
                bits,
                levels: shape.levels(),
            });
        }
        // Alpha does not count against a model without a channel for it: whether it says anything is seen in the
        // pixels.
        let fits = match shape.channels() {
            1 => !self.colour.has_color(),
            3 => self.colour.has_color(),
            wanted => usize::from(channels) == wanted,
        };
        if fits {
            return Ok(());
        }
        Err(MediaError::Channels {
            found: convert::describe(channels.into()),
            wanted: convert::describe(shape.channels()),
        })
    }
}
