//! Programs of rows against the same sums done one by one.

use super::*;
use crate::graph::protobuf::{Graph, Node, Tensor, ValueInfo};

const INPUTS: usize = 37;
const HIDDEN: usize = 70;

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// a: `INPUTS` reals, b: 3 reals, a number and a byte for each row; every kind of step.
fn graph() -> Model {
    let real = |name: &str, dims: &[i64], seed| {
        let count = dims.iter().product::<i64>() as usize;
        Tensor::of_reals(name, dims, &numbers(count, seed))
    };
    let ints = |name: &str, values: &[i64]| Tensor::of_ints(name, values);
    let nodes = vec![
        Node::new("Concat", &["a", "b"], "joined").with_int("axis", 1),
        Node::new("Gemm", &["joined", "weights", "bias"], "sum"),
        Node::new("Sigmoid", &["sum"], "gate"),
        Node::new("Tanh", &["sum"], "signal"),
        Node::new("Mul", &["gate", "signal"], "gated"),
        Node::new("Gather", &["table", "number"], "placed"),
        Node::new("Add", &["gated", "placed"], "hidden"),
        Node::new("Slice", &["hidden", "one", "four", "one"], "some"),
        Node::new("Gather", &["hidden", "chosen"], "others").with_int("axis", 1),
        Node::new("Cast", &["byte"], "truth").with_int("to", 9),
        Node::new("Where", &["truth", "some", "zero"], "shown"),
        Node::new("Concat", &["shown", "others", "b"], "mixed").with_int("axis", 1),
        Node::new("Sub", &["zero", "mixed"], "less"),
        Node::new("Div", &["less", "row"], "last"),
        Node::new("Reshape", &["last", "shape"], "out"),
    ];
    let initializers = vec![
        real("weights", &[INPUTS as i64 + 3, HIDDEN as i64], 1),
        real("bias", &[HIDDEN as i64], 2),
        real("table", &[5, HIDDEN as i64], 3),
        real("row", &[8], 4),
        real("zero", &[1], 5),
        ints("one", &[1]),
        ints("four", &[4]),
        ints("chosen", &[9, 3]),
        ints("shape", &[0, 2, 4]),
    ];
    let float = |name: &str, sizes: &[usize]| ValueInfo::batched(name, ElementType::Float, sizes);
    let mut graph = Graph::default();
    (graph.nodes, graph.initializers) = (nodes, initializers);
    graph.inputs = vec![
        float("a", &[INPUTS]),
        float("b", &[3]),
        ValueInfo::batched("number", ElementType::Int64, &[]),
        ValueInfo::batched("byte", ElementType::Uint8, &[1]),
    ];
    graph.outputs = vec![float("out", &[2, 4]), float("hidden", &[HIDDEN])];
    let mut model = Model::default();
    model.graph = Some(graph);
    model
}

/// Rows of the inputs.
struct Given {
    a: Vec<f32>,
    b: Vec<f32>,
    number: Vec<i64>,
    byte: Vec<u8>,
}

fn given(rows: usize) -> Given {
    Given {
        a: numbers(rows * INPUTS, 11),
        b: numbers(rows * 3, 12),
        number: (0..rows as i64).map(|row| row % 5).collect(),
        byte: (0..rows).map(|row| (row % 3) as u8).collect(),
    }
}

fn run(program: &dyn Program, given: &Given, names: &[&str]) -> Result<Vec<Vec<f32>>, RuntimeError> {
    let rows = given.number.len();
    let shapes = [[rows, 1], [rows, 3], [rows, INPUTS]];
    let input = |name, shape, values| Input { name, shape, values };
    let inputs = [
        input("byte", &shapes[0][..], Values::Bytes(&given.byte)),
        input("b", &shapes[1], Values::Floats(&given.b)),
        input("a", &shapes[2], Values::Floats(&given.a)),
        input("number", &shapes[0][..1], Values::Ints(&given.number)),
    ];
    let outputs = program.run(&inputs, names, Threads::One)?;
    Ok(outputs.into_iter().map(|output| output.values).collect())
}

/// The graph for one row, sum by sum.
fn expected(given: &Given, row: usize) -> (Vec<f64>, Vec<f64>) {
    let (weights, bias) = (numbers((INPUTS + 3) * HIDDEN, 1), numbers(HIDDEN, 2));
    let (table, last) = (numbers(5 * HIDDEN, 3), numbers(8, 4));
    let zero = f64::from(numbers(1, 5)[0]);
    let own: Vec<f64> = given.a[row * INPUTS..][..INPUTS]
        .iter()
        .chain(&given.b[row * 3..][..3])
        .map(|&value| value.into())
        .collect();
    let hidden: Vec<f64> = (0..HIDDEN)
        .map(|output| {
            let terms = own.iter().enumerate();
            let sum: f64 = terms
                .map(|(at, value)| value * f64::from(weights[at * HIDDEN + output]))
                .sum();
            let sum = sum + f64::from(bias[output]);
            let placed = table[given.number[row] as usize * HIDDEN + output];
            sum.tanh() / (1.0 + (-sum).exp()) + f64::from(placed)
        })
        .collect();
    let shown = hidden[1..4]
        .iter()
        .map(|&value| if given.byte[row] == 0 { zero } else { value });
    let mixed = shown.chain([hidden[9], hidden[3]]).chain(own[INPUTS..].iter().copied());
    let out = mixed
        .zip(last)
        .map(|(value, divisor)| (zero - value) / f64::from(divisor))
        .collect();
    (out, hidden)
}

#[test]
fn every_kind_of_step_gives_what_it_says_for_any_number_of_rows() {
    let program = program("rows", &graph()).unwrap();
    for rows in [1, 2, 5, 12, 13, 24, 95, 96, 97, 250] {
        let given = given(rows);
        let outputs = run(&*program, &given, &["hidden", "out"]).unwrap();
        for row in 0..rows {
            let (out, hidden) = expected(&given, row);
            let (first, last) = (
                outputs[0][row * HIDDEN..][..HIDDEN].iter(),
                outputs[1][row * 8..][..8].iter(),
            );
            for (value, exact) in first.chain(last).zip(hidden.into_iter().chain(out)) {
                let error = (f64::from(*value) - exact).abs();
                assert!(
                    error < 1e-5 * exact.abs().max(1.0),
                    "row {row} of {rows}: {value} for {exact}"
                );
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    let program = program("rows", &graph()).unwrap();
    let many = given(200);
    let together = run(&*program, &many, &["out"]).unwrap();
    for (first, count) in [(0, 1), (3, 1), (90, 7), (95, 13), (199, 1), (60, 100)] {
        let some = Given {
            a: many.a[first * INPUTS..][..count * INPUTS].to_vec(),
            b: many.b[first * 3..][..count * 3].to_vec(),
            number: many.number[first..][..count].to_vec(),
            byte: many.byte[first..][..count].to_vec(),
        };
        let alone = run(&*program, &some, &["out"]).unwrap();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            bits(&alone[0]),
            bits(&together[0][first * 8..][..count * 8]),
            "{count} rows from {first}"
        );
    }
}

#[test]
fn inputs_and_outputs_that_are_not_there_and_rows_outside_a_table_are_told() {
    let program = program("rows", &graph()).unwrap();
    let mut given = given(4);
    let message = |result: Result<Vec<Vec<f32>>, RuntimeError>| result.unwrap_err().to_string();
    assert!(message(run(&*program, &given, &["in"])).contains("no output \"in\""));
    given.number[2] = 5;
    assert!(message(run(&*program, &given, &["out"])).contains("row 5 of a table"));
    given.number[2] = 4;
    given.a.pop();
    assert!(message(run(&*program, &given, &["out"])).contains("input \"a\" is to be 4 rows of 37 values"));
    assert!(message(program.run(&[], &["out"], Threads::One).map(|_| Vec::new())).contains("no input \"a\""));
}

#[test]
fn graphs_with_anything_else_are_left_to_the_runtime() {
    for other in ["Softmax", "Unheard"] {
        let mut model = graph();
        let nodes = &mut model.graph.as_mut().unwrap().nodes;
        nodes.push(Node::new(other, &["out"], "more"));
        assert!(super::program("rows", &model).is_none(), "{other}");
    }
    let mut model = graph();
    // Transposed weights are another product.
    model.graph.as_mut().unwrap().nodes[1] =
        Node::new("Gemm", &["joined", "weights", "bias"], "sum").with_int("transB", 1);
    assert!(super::program("rows", &model).is_none());
}
