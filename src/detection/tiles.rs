//! Detection in images that are larger than what the members of a detector take: windows are judged one by one, and
//! what they say is gathered to a map and to numbers of the image.
//!
//! Windows of an image are not exchangeable, images are: so one rule judges windows, a second one the numbers that
//! windows make, and only whole images calibrate. A window is cut when its turn comes; what is held beside the image is
//! its map and a group of windows.

use std::sync::Arc;

use super::{
    panel::{Measurement, Measuring, Panel},
    rule::{DensityPlan, Measured, Plan, Rule},
    statistics::{
        Evidence, Inputs, Statistic,
        tiles::{self, Pooled},
    },
};
use crate::{
    domain::{
        conformal::Calibration,
        image::{Image, ImageShape},
        tiles::{Blend, Tiling, largest_share, smooth},
    },
    model::{Call, Refusal},
    runtime::Threads,
    scheduling::{Class, Permit},
};

/// Windows that are cut and measured at once: enough for two workers.
const GROUP: usize = 64;

/// How images are cut, and what becomes of what windows say.
#[derive(Debug, Clone, PartialEq)]
pub struct TilePlan {
    /// Where the windows lie.
    pub tiling: Tiling,
    /// The statistic whose maps of windows make the map of the image.
    pub map: Statistic,
    /// Deviation in pixels of the Gaussian under which the map is looked at.
    pub smoothing: f64,
    /// The share of places, and of windows, whose mean is a number of the image.
    pub share: f64,
}

impl TilePlan {
    /// A plan for windows of a shape, or what is wrong with it, after the name of the part.
    pub fn new(window: ImageShape, map: Statistic, stride: usize, smoothing: f64, share: f64) -> Result<Self, String> {
        let (height, width) = (window.height(), window.width());
        let tiling = Tiling::new((height, width), stride).ok_or_else(|| {
            format!(
                "stride: {stride} is not from 1 to {}, the shorter side of a window",
                height.min(width)
            )
        })?;
        if !(0.0..=height.min(width) as f64).contains(&smoothing) {
            return Err(format!(
                "smoothing: {smoothing} is not from 0 to {}, the shorter side of a window",
                height.min(width)
            ));
        }
        if !(share > 0.0 && share <= 1.0) {
            return Err(format!("share: {share} must lie above 0 and be at most 1"));
        }
        Ok(Self {
            tiling,
            map,
            smoothing,
            share,
        })
    }
}

/// A detector of images of any size.
#[derive(Debug)]
pub struct Tiled {
    /// Members and statistics of windows.
    pub panel: Arc<Panel>,
    /// How images are cut.
    pub plan: TilePlan,
    /// What is made of the statistics of a window.
    pub windows: Rule,
    /// What is made of the numbers that windows make.
    pub images: Rule,
    /// Strangeness of whole inliers that took part in nothing else.
    pub calibration: Calibration,
}

impl Tiled {
    /// How its windows are measured.
    pub fn looking(&self) -> Looking<'_> {
        Looking {
            window: self.panel.shape(),
            plan: &self.plan,
            rule: &self.windows,
        }
    }
}

/// What was measured of one image.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// The numbers of the image in the order of [`image_plan`].
    pub values: Measured,
    /// The map, in channel, row, column order.
    pub map: Vec<f32>,
}

/// The rule for the numbers that windows make: one density of all of them. A single Gaussian, because whole images are
/// few.
pub fn image_plan() -> Plan {
    Plan {
        statistics: tiles::ALL.to_vec(),
        densities: vec![DensityPlan {
            name: "tiles".to_owned(),
            statistics: tiles::ALL.to_vec(),
            axes: tiles::ALL.len(),
            components: 1,
        }],
        excess: Vec::new(),
        guarded: Vec::new(),
    }
}

/// The first statistic of a plan of windows that can be shown.
pub fn map_of(plan: &Plan) -> Option<Statistic> {
    plan.statistics.iter().copied().find(|statistic| statistic.is_map())
}

/// The window of an image at a row and a column.
///
/// # Panics
/// If it does not lie inside.
pub fn cut(image: &Image, (row, column): (usize, usize), window: ImageShape) -> Image {
    let shape = image.shape();
    let mut levels = Vec::with_capacity(window.dimensions());
    for plane in image.levels().chunks_exact(shape.pixels()) {
        for y in row..row + window.height() {
            levels.extend_from_slice(&plane[y * shape.width() + column..][..window.width()]);
        }
    }
    Image::new(window, levels).expect("levels of an image of as many levels")
}

/// Rows and columns.
fn sides(image: &Image) -> (usize, usize) {
    (image.shape().height(), image.shape().width())
}

/// At most `limit` windows of some images, as many of each, evenly among its windows.
pub fn some_windows(plan: &TilePlan, window: ImageShape, images: &[Image], limit: usize) -> Vec<Image> {
    let each = limit.div_ceil(images.len().max(1)).max(1);
    let of = |image: &Image| {
        let places = plan.tiling.places(sides(image));
        let step = places.len().div_ceil(each);
        let chosen = places.into_iter().skip(step / 2).step_by(step);
        chosen.map(|place| cut(image, place, window)).collect::<Vec<_>>()
    };
    images.iter().flat_map(of).collect()
}

/// How windows are measured.
#[derive(Debug)]
pub struct Looking<'a> {
    /// Size of a window.
    pub window: ImageShape,
    /// How images are cut.
    pub plan: &'a TilePlan,
    /// What is made of the statistics of a window.
    pub rule: &'a Rule,
}

impl Looking<'_> {
    /// Leave to measure all windows of some images.
    pub fn admit(&self, lane: &Measuring, images: &[Image], call: &Call) -> Result<Permit, Refusal> {
        let windows: usize = images
            .iter()
            .filter(|image| self.plan.tiling.fits(sides(image)))
            .map(|image| self.plan.tiling.places(sides(image)).len())
            .sum();
        call.admit(Class::Interactive, lane.estimate(windows as u64))
    }

    /// Measures an image by the workers, a group of windows at a time.
    pub async fn measure(
        &self,
        lane: &Measuring,
        image: &Image,
        permit: &Permit,
        call: &Call,
    ) -> Result<Gathered, Refusal> {
        let places = self.places(image)?;
        let mut gathering = Gathering::new(self, image);
        for group in places.chunks(GROUP) {
            let windows = group.iter().map(|&place| cut(image, place, self.window)).collect();
            let measured = lane.run(permit, windows, call.deadline).await;
            for (&place, measurement) in group.iter().zip(measured) {
                gathering.add(place, &measurement??)?;
            }
        }
        Ok(gathering.finish(image))
    }

    /// The same on the calling thread.
    pub fn measure_here(&self, panel: &Panel, image: &Image, threads: Threads) -> Result<Gathered, String> {
        let text = |refusal: Refusal| refusal.to_string();
        let places = self.places(image).map_err(text)?;
        let mut gathering = Gathering::new(self, image);
        for group in places.chunks(GROUP) {
            let windows: Vec<Image> = group.iter().map(|&place| cut(image, place, self.window)).collect();
            let levels: Vec<&[u8]> = windows.iter().map(Image::levels).collect();
            for (&place, measurement) in group.iter().zip(panel.measure(&levels, threads)?) {
                gathering.add(place, &measurement.map_err(text)?).map_err(text)?;
            }
        }
        Ok(gathering.finish(image))
    }

    fn places(&self, image: &Image) -> Result<Vec<(usize, usize)>, Refusal> {
        let (height, width) = sides(image);
        if self.plan.tiling.fits((height, width)) {
            return Ok(self.plan.tiling.places((height, width)));
        }
        Err(Refusal::image(format!(
            "the image has {width}×{height} pixels (width × height), and a window of this detector {}×{}: at least so \
             many are needed",
            self.window.width(),
            self.window.height()
        )))
    }
}

/// What the windows of one image have said so far.
struct Gathering<'a> {
    looking: &'a Looking<'a>,
    blend: Blend,
    strangeness: Vec<f64>,
}

impl<'a> Gathering<'a> {
    fn new(looking: &'a Looking<'a>, image: &Image) -> Self {
        Self {
            looking,
            blend: Blend::new(looking.plan.tiling, image.shape().channels(), sides(image)),
            strangeness: Vec::new(),
        }
    }

    fn add(&mut self, place: (usize, usize), measurement: &Measurement) -> Result<(), Refusal> {
        let map = self.looking.plan.map;
        let found = measurement.maps.iter().find(|(statistic, _)| *statistic == map);
        let (_, values) = found.ok_or_else(|| Refusal::internal(format!("a window has no {map}")))?;
        self.blend.add(place, values);
        self.strangeness
            .push(self.looking.rule.judge(&measurement.values).strangeness);
        Ok(())
    }

    fn finish(self, image: &Image) -> Gathered {
        let TilePlan { smoothing, share, .. } = *self.looking.plan;
        let map = self.blend.finish();
        let (pixels, shape) = (image.shape().pixels(), image.shape());
        let mut summed = vec![0.0; pixels];
        for plane in map.chunks_exact(pixels) {
            for (sum, value) in summed.iter_mut().zip(plane) {
                *sum += value;
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let largest = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let plain: Vec<f64> = summed.iter().copied().map(f64::from).collect();
        let smoothed = smooth(&summed, (shape.height(), shape.width()), smoothing);
        let smoothed: Vec<f64> = smoothed.into_iter().map(f64::from).collect();
        let pooled = Pooled {
            map_largest: largest(&smoothed),
            map_share: largest_share(smoothed.iter().copied(), share),
            map_mean: mean(&plain),
            window_largest: largest(&self.strangeness),
            window_share: largest_share(self.strangeness.iter().copied(), share),
            window_mean: mean(&self.strangeness),
        };
        let evidence = Evidence {
            tiles: Some(pooled),
            ..Evidence::default()
        };
        let seen = Inputs {
            evidence: &evidence,
            levels: image.levels(),
            shape,
        };
        Gathered {
            values: tiles::ALL.iter().map(|statistic| statistic.of(&seen)).collect(),
            map,
        }
    }
}
