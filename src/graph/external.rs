//! Tensors whose values lie in files beside the graph.
//!
//! A graph may say that a tensor's values are to be read from another file. A runtime would look for it from where the
//! process stands, and read whatever is there. So no runtime ever sees such a tensor: the values are put into the
//! graph, out of files that the caller answers for, and what cannot be put there is refused. This holds at every depth,
//! and after it a graph reads nothing but itself.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    GraphError,
    protobuf::{Model, Tensor},
    visit,
};

/// `Tensor::data_location` of values that are in another file.
const ELSEWHERE: i32 = 1;
/// A graph goes to the runtime as one message, which can be no larger.
const LARGEST: usize = i32::MAX as usize;
/// Tensors may share values, but not without end: a small file must not become a large graph.
const SHARES: usize = 4;

/// Puts all values that lie elsewhere into the graph, without a copy. `read` gives the bytes of a file by its plain
/// name, and is asked once for each. Answers the names, in order.
pub fn inline(
    model: &mut Model,
    mut read: impl FnMut(&str) -> Result<Bytes, String>,
) -> Result<Vec<String>, GraphError> {
    // Instructions for training are of no use here, and they could hold tensors, too.
    model.training.clear();
    let mut files: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut total = 0usize;
    visit::tensors(model, &mut |tensor| {
        if tensor.data_location != Some(ELSEWHERE) {
            tensor.external_data.clear();
            tensor.data_location = None;
            return Ok(());
        }
        let refused = |cause: String| GraphError::External {
            tensor: tensor.name.clone().unwrap_or_default(),
            cause,
        };
        let place = Place::of(tensor).map_err(&refused)?;
        if !files.contains_key(&place.file) {
            let bytes = read(&place.file).map_err(&refused)?;
            files.insert(place.file.clone(), bytes);
        }
        let values = place.of_file(&files[&place.file]).map_err(&refused)?;
        total = total.saturating_add(values.len());
        let held: usize = files.values().map(|bytes| bytes.len()).sum();
        if total > LARGEST || total > held.saturating_mul(SHARES) {
            let cause = format!(
                "with it, tensors take {total} bytes out of files of {held}: at most {SHARES} times as many, and at \
                 most {LARGEST}, can be put into a graph"
            );
            return Err(refused(cause));
        }
        *tensor = Tensor {
            dims: std::mem::take(&mut tensor.dims),
            data_type: tensor.data_type,
            name: tensor.name.take(),
            doc_string: tensor.doc_string.take(),
            raw_data: Some(values),
            ..Tensor::default()
        };
        Ok(())
    })?;
    Ok(files.into_keys().collect())
}

/// Where the values of a tensor are.
struct Place {
    file: String,
    offset: usize,
    length: usize,
}

impl Place {
    /// What the tensor says, if it can be so.
    fn of(tensor: &Tensor) -> Result<Self, String> {
        let entry = |wanted: &str| {
            let mut entries = tensor.external_data.iter();
            let entry = entries.find(|entry| entry.key.as_deref() == Some(wanted));
            entry.map(|entry| entry.value.as_deref().unwrap_or_default())
        };
        let file = entry("location").ok_or("it lies in another file, but does not say in which")?;
        if !is_plain_name(file) {
            return Err(format!(
                "it lies in {:?}, which is not the plain name of a file beside the graph",
                clipped(file)
            ));
        }
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => match text.parse::<usize>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(format!("its {key} {:?} is not a whole number", clipped(text))),
            },
        };
        let needed = tensor
            .byte_size()
            .ok_or("its type and shape do not tell how many bytes it has")?;
        let length = number("length")?.unwrap_or(needed);
        if length != needed {
            return Err(format!(
                "its type and shape take {needed} bytes, but it is said to have {length}"
            ));
        }
        Ok(Self {
            file: file.to_owned(),
            offset: number("offset")?.unwrap_or(0),
            length,
        })
    }

    fn of_file(&self, bytes: &Bytes) -> Result<Bytes, String> {
        let end = self.offset.checked_add(self.length);
        let range = end.filter(|&end| end <= bytes.len()).map(|end| self.offset..end);
        range.map(|range| bytes.slice(range)).ok_or_else(|| {
            format!(
                "it should have {} bytes from {} of {:?}, which has {}",
                self.length,
                self.offset,
                self.file,
                bytes.len()
            )
        })
    }
}

/// Whether a name stands for a file in the same folder on every system.
fn is_plain_name(name: &str) -> bool {
    let foreign = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    !name.is_empty() && name != "." && name != ".." && !name.contains(foreign)
}

/// The beginning of a text that somebody else wrote.
fn clipped(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::{Attribute, Entry, Function, Graph, Node, SparseTensor};

    fn elsewhere(entries: &[(&str, &str)]) -> Tensor {
        let entry = |&(key, value): &(&str, &str)| Entry {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        };
        Tensor {
            name: Some("w".to_owned()),
            dims: vec![2],
            data_type: Some(1),
            data_location: Some(ELSEWHERE),
            external_data: entries.iter().map(entry).collect(),
            ..Tensor::default()
        }
    }

    fn holding(tensor: Tensor) -> Model {
        Model {
            graph: Some(Graph {
                initializers: vec![tensor],
                ..Graph::default()
            }),
            ..Model::default()
        }
    }

    /// Puts values from a file "beside" of 12 bytes.
    fn inlined(model: &mut Model) -> Result<Vec<String>, GraphError> {
        inline(model, |name| {
            assert_eq!(name, "beside", "only plain names reach the reader");
            Ok((0..12).collect())
        })
    }

    fn refused(entries: &[(&str, &str)]) -> String {
        inlined(&mut holding(elsewhere(entries))).unwrap_err().to_string()
    }

    #[test]
    fn values_come_from_the_place_that_is_said() {
        let entries = [("location", "beside"), ("offset", "4"), ("length", "8")];
        let mut model = holding(elsewhere(&entries));
        assert_eq!(inlined(&mut model).unwrap(), ["beside"]);
        let tensor = &model.graph.unwrap().initializers[0];
        assert_eq!(tensor.raw_data.as_deref(), Some(&[4, 5, 6, 7, 8, 9, 10, 11][..]));
        assert!(tensor.external_data.is_empty());
        assert_eq!(tensor.data_location, None);
        assert_eq!(tensor.dims, [2]);
    }

    #[test]
    fn nothing_but_plain_files_beside_the_graph_is_asked_for() {
        for place in [
            "../beside",
            "/etc/passwd",
            "etc/passwd",
            "..",
            ".",
            "",
            "a\\b",
            "c:b",
            "be\0side",
            "*/_ORT_MEM_ADDR_/*",
        ] {
            assert!(refused(&[("location", place)]).contains("plain name"), "{place:?}");
        }
        assert!(refused(&[]).contains("does not say in which"));
    }

    #[test]
    fn ranges_that_are_not_there_are_refused() {
        let at = |key, value| refused(&[("location", "beside"), (key, value)]);
        assert!(at("offset", "5").contains("8 bytes from 5"));
        assert!(at("offset", "18446744073709551615").contains("which has 12"));
        assert!(at("offset", "-1").contains("offset \"-1\" is not a whole number"));
        assert!(at("length", "12").contains("take 8 bytes"));
        let mut huge = elsewhere(&[("location", "beside")]);
        huge.dims = vec![i64::MAX, i64::MAX];
        let error = inlined(&mut holding(huge)).unwrap_err().to_string();
        assert!(error.contains("do not tell how many bytes"), "{error}");
    }

    #[test]
    fn a_small_file_does_not_become_a_large_graph() {
        let mut model = holding(elsewhere(&[("location", "beside")]));
        let graph = model.graph.as_mut().unwrap();
        graph.initializers = vec![graph.initializers[0].clone(); 7];
        let error = inlined(&mut model).unwrap_err().to_string();
        assert!(error.contains("56 bytes out of files of 12"), "{error}");
    }

    #[test]
    fn no_depth_hides_a_tensor() {
        let outside = || elsewhere(&[("location", "/etc/passwd")]);
        let sparse = || SparseTensor {
            values: Some(outside()),
            ..SparseTensor::default()
        };
        let in_attribute = |attribute: Attribute| Node {
            attributes: vec![attribute],
            ..Node::default()
        };
        let in_graph = |nodes: Vec<Node>| Graph {
            nodes,
            ..Graph::default()
        };
        let attributes = [
            Attribute {
                t: Some(outside()),
                ..Attribute::default()
            },
            Attribute {
                tensors: vec![outside()],
                ..Attribute::default()
            },
            Attribute {
                sparse_tensor: Some(Box::new(sparse())),
                ..Attribute::default()
            },
            Attribute {
                sparse_tensors: vec![sparse()],
                ..Attribute::default()
            },
        ];
        for attribute in attributes {
            let inner = in_graph(vec![in_attribute(attribute.clone())]);
            let body = Attribute {
                graph: Some(Box::new(inner.clone())),
                ..Attribute::default()
            };
            let branches = Attribute {
                graphs: vec![Graph::default(), inner],
                ..Attribute::default()
            };
            for attribute in [attribute, body, branches] {
                let function = Function {
                    nodes: vec![in_attribute(attribute.clone())],
                    ..Function::default()
                };
                let default = Function {
                    attribute_defaults: vec![attribute.clone()],
                    ..Function::default()
                };
                for (graph, functions) in [
                    (in_graph(vec![in_attribute(attribute)]), Vec::new()),
                    (Graph::default(), vec![function]),
                    (Graph::default(), vec![default]),
                ] {
                    let mut model = Model {
                        graph: Some(graph),
                        functions,
                        ..Model::default()
                    };
                    let error = inlined(&mut model).unwrap_err().to_string();
                    assert!(error.contains("/etc/passwd"), "{error}");
                }
            }
        }
        let mut model = Model {
            graph: Some(Graph {
                sparse_initializers: vec![sparse()],
                ..Graph::default()
            }),
            ..Model::default()
        };
        assert!(inlined(&mut model).is_err());
    }
}
