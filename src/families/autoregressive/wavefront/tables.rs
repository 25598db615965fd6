//! Features of single pixels, computed once for every level.

use crate::{
    domain::image::ImageShape,
    families::network::{NetworkError, expect_shape},
    graph::{
        self,
        rewrite::InputMap,
        wavefront::{Compiled, TABLE_LEVELS},
    },
    runtime::{Engine, Input, Values},
};

/// Runs the graph of tables on all levels.
pub(super) fn tables(
    engine: &dyn Engine,
    name: &str,
    compiled: &Compiled,
    shape: ImageShape,
    map: InputMap,
) -> Result<Vec<Vec<f32>>, NetworkError> {
    if compiled.tables.tables.is_empty() {
        return Ok(Vec::new());
    }
    let (levels, channels) = (shape.levels(), shape.channels());
    // As the graphs that take levels do it: 32-bit reals, product and sum rounded one after the other.
    let values: Vec<f32> = (0..levels)
        .flat_map(|level| (0..channels).map(move |channel| map.value(level as u8, channel)))
        .collect();
    let names: Vec<&str> = compiled
        .tables
        .tables
        .iter()
        .map(|table| table.output.as_str())
        .collect();
    let input = Input {
        name: TABLE_LEVELS,
        shape: &[levels, channels],
        values: Values::Floats(&values),
    };
    let outputs = engine.evaluate(
        &format!("{name} (tables)"),
        graph::serialize(&compiled.tables.graph),
        &[input],
        &names,
    )?;
    for (output, table) in outputs.iter().zip(&compiled.tables.tables) {
        if output.values.len() != levels * table.channels.len() {
            expect_shape(&table.output, output, &[levels, table.channels.len()])?;
        }
    }
    Ok(outputs.into_iter().map(|output| output.values).collect())
}
