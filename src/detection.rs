//! From what models say of an image to a judgement of it: statistics, joint densities over them, calibration, and the
//! drift of a stream.
//!
//! Architecture invariant: models are asked for [`evidence`] by capability; no family and no transport is known here.

pub mod calibrate;
pub mod calibrated_on;
pub mod detector;
pub mod drift;
pub mod evaluation;
pub mod evidence;
pub mod learners;
pub mod learning;
pub mod panel;
pub mod places;
pub mod rule;
pub mod statistics;
pub mod tiles;
pub mod trained_on;
