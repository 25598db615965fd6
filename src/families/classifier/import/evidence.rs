//! What tells that a row of numbers is logits of labels. Numbers do not: features, the corners of a box, the points of
//! a pose and quantities are rows as well. What tells is how people call what ends a network.

use crate::{
    families::import::Likely,
    graph::{protobuf::Graph, surgery},
    import::{
        interview::Interview,
        output_activation::OutputActivation,
        output_range,
        reading::{Given, ImageForm, Reading, Taken},
    },
};

/// Words in names of outputs, layers and weights that speak for labels.
const OF_LABELS: &str = "category categories class classes classification classifier clf cls dense fc head \
    heads imagenet label labels logit logits predictions prob probability probabilities probs score scores \
    softmax";

/// Words that speak for something else, whatever stands beside them: the head of a box is not one of labels.
const OF_OTHERS: &str = "age ages angle angles bbox bboxes box boxes coord coordinates coords corner corners \
    depth depths descriptor descriptors disparity distance distances embed embedding embeddings embeds euler \
    feat feats feature features gaze joint joints keypoint keypoints kpt kpts landmark landmarks offset \
    offsets point points pose poses position positions pre price proj projection projector quaternion reg \
    regress regression regressor rotation translation xy xyz";

/// Layers with weights.
const LAYERS: [&str; 9] = [
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "MatMulInteger",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
];

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Somebody names the labels, or says what the numbers are.
    Said,
    /// They are made of a softmax.
    Softmax,
    /// This name speaks for labels.
    For(String),
    /// Nothing is named, but images of this size with so many labels are those of this data set.
    Known(&'static str),
    /// This name speaks for something else.
    Against(String),
    /// Nothing speaks for anything.
    None,
}

impl Evidence {
    /// Looks at names from the output back to the last layers with weights; the first that says something counts.
    pub(super) fn of(reading: &Reading, given: &Given, interview: &mut Interview) -> Self {
        if interview.given("labels").is_some() || interview.given("logits").is_some() {
            return Self::Said;
        }
        let source = output_range::made(&reading.model, &given.port.name).source;
        if matches!(source, OutputActivation::Softmax | OutputActivation::LogSoftmax) {
            return Self::Softmax;
        }
        let names = names(reading.graph(), &given.port.name);
        let known = || Some(Self::Known(known(reading.image()?.1, given.numbers())?));
        let judged = names.into_iter().find_map(|name| judged(&name));
        judged.or_else(known).unwrap_or(Self::None)
    }

    /// Whether numbers are taken for logits of labels unless somebody says otherwise.
    pub(super) fn is_for(&self) -> bool {
        matches!(self, Self::Said | Self::Softmax | Self::For(_) | Self::Known(_))
    }

    /// What is asked with the question what the graph is, if it does not tell.
    pub(super) fn doubt(&self, given: &Given) -> Option<String> {
        let (count, name) = (given.numbers(), &given.port.name);
        let reason = match self {
            Self::Said | Self::Softmax | Self::For(_) | Self::Known(_) => return None,
            Self::Against(own) => format!("{own:?} is no name of logits of labels"),
            Self::None => "no name in it speaks of labels".to_owned(),
        };
        Some(format!(
            "The {count} numbers that it gives of each image ({name:?}) may be logits of {count} labels, or features, \
             the corners of a box, the points of a pose or quantities, and {reason}. Say --family classifier if they \
             are logits of labels of which one is right, or --family encoder, which serves all else as features"
        ))
    }

    /// Why they are taken for logits, for who reads of it later.
    pub(super) fn told(&self, file: &str, given: &Given) -> String {
        let (count, name) = (given.numbers(), &given.port.name);
        let reason = match self {
            Self::Softmax => " since a softmax made them",
            Self::For(own) => &format!(" because of the name {own:?}"),
            Self::Known(own) => &format!(", because images of such a size with {count} labels are those of {own}"),
            Self::Said | Self::Against(_) | Self::None => ", as was said",
        };
        format!(
            "{file}: the {count} numbers of each image ({name:?}) are taken for logits of labels of which one is \
             right{reason}. Logits of labels of which several can be right, each behind a sigmoid of its own, look \
             the same, and posteriors of them would be wrong: --family encoder serves those as features"
        )
    }
}

/// A data set whose classifiers have customs of their own.
const IMAGENET: &str = "ImageNet";

/// The data set whose images have this form and so many labels, where everybody knows it.
fn known(form: ImageForm, count: usize) -> Option<&'static str> {
    Some(match (form.channels, form.height, form.width, count) {
        (1, 28, 28, 10) | (1, 32, 32, 10) => "MNIST and its kin",
        (1, 28, 28, 26 | 47 | 62) => "EMNIST",
        (3, 32, 32, 10) => "CIFAR-10 and SVHN",
        (3, 32, 32, 100) => "CIFAR-100",
        (3, 64, 64, 200) => "Tiny ImageNet",
        (3, 96, 96, 10) => "STL-10",
        (3, 128..=640, 128..=640, 1000 | 21_841) => IMAGENET,
        _ => return None,
    })
}

/// What a classifier takes for levels, where it does not tell.
pub(super) fn likely_input(reading: &Reading, (taken, form): (&Taken, ImageForm), labels: usize) -> Likely {
    if known(form, labels) == Some(IMAGENET) {
        Likely::of_photographs(reading, (taken, form))
    } else {
        Likely::Unit
    }
}

fn judged(name: &str) -> Option<Evidence> {
    let own = name.to_lowercase();
    let words: Vec<&str> = own.split(|c: char| !c.is_ascii_alphabetic()).collect();
    let has = |list: &str| list.split_whitespace().any(|word| words.contains(&word));
    if has(OF_OTHERS) {
        Some(Evidence::Against(name.to_owned()))
    } else {
        has(OF_LABELS).then(|| Evidence::For(name.to_owned()))
    }
}

/// Names of an output, of operators before it, and of what these read, up to the last layer with weights: not past a
/// sum of branches, behind which layers are named for what they are within.
fn names(graph: &Graph, output: &str) -> Vec<String> {
    let varying = surgery::varying(graph);
    let (mut names, mut value) = (Vec::new(), output);
    loop {
        names.push(value.to_owned());
        let Some(node) = surgery::producer(graph, value) else {
            return names;
        };
        names.extend(node.name.clone());
        let (read, held): (Vec<&String>, Vec<&String>) = node.inputs.iter().partition(|input| varying.contains(*input));
        held.into_iter().for_each(|weight| names.extend(sources(graph, weight)));
        match read[..] {
            [next] if !LAYERS.contains(&node.op_type()) => value = next,
            // The mean of two heads, as of a distilled network, is named for both.
            [first, second] if node.op_type() == "Add" && is_dense(graph, first) && is_dense(graph, second) => {
                names.extend([first, second].into_iter().flat_map(|head| self::names(graph, head)));
                return names;
            }
            _ => return names,
        }
    }
}

/// Whether a value is made by a dense layer, with a bias or without.
fn is_dense(graph: &Graph, value: &str) -> bool {
    let node = surgery::producer(graph, value);
    node.is_some_and(|node| match node.op_type() {
        "Gemm" | "MatMul" => true,
        "Add" => {
            surgery::beside_constant(graph, node).is_some_and(|(product, _)| is_dense(graph, &node.inputs[product]))
        }
        _ => false,
    })
}

/// Names of a constant and of what it was made of, such as weights that are turned.
fn sources(graph: &Graph, constant: &str) -> Vec<String> {
    let first = |value: &String| surgery::producer(graph, value)?.inputs.first().cloned();
    std::iter::successors(Some(constant.to_owned()), first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::reading::Axes;

    #[test]
    fn labels_of_well_known_images_are_known_by_their_number() {
        let form = |channels, side| ImageForm {
            channels,
            height: side,
            width: side,
            axes: Axes::ChannelsFirst,
        };
        assert_eq!(known(form(1, 28), 10), Some("MNIST and its kin"));
        assert_eq!(known(form(3, 224), 1000), Some("ImageNet"));
        for (channels, side, count) in [(1, 28, 4), (3, 32, 64), (3, 224, 10), (3, 224, 512), (1, 64, 10)] {
            assert_eq!(known(form(channels, side), count), None);
        }
    }

    #[test]
    fn names_of_layers_speak_for_labels_or_for_something_else() {
        for name in [
            "fc.weight",
            "fc3.bias",
            "classifier.1.weight",
            "/head/fc/Gemm",
            "model/dense_2/MatMul:0",
            "logits",
        ] {
            assert!(judged(name).is_some_and(|own| own.is_for()), "{name}");
        }
        for name in [
            "pred_boxes",
            "pose_head.weight",
            "keypoints",
            "fc_landmarks.bias",
            "visual.proj",
            "image_embeds",
        ] {
            assert!(matches!(judged(name), Some(Evidence::Against(_))), "{name}");
        }
        for name in [
            "output",
            "19",
            "net.7.weight",
            "onnx::MatMul_212",
            "/transpose/Gemm",
            "linear",
        ] {
            assert_eq!(judged(name), None, "{name}");
        }
    }
}
