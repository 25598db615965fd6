//! The order in which a graph gives the parameters of mixtures of logistics, which people write each in their own way.

use super::Mismatch;
use crate::{
    domain::logistic_mixture,
    import::{Problem, canonical::Op, interview::Interview},
};

/// What parameters are of, behind the logits of the components, in the order of the paper.
const AXES: [&str; 3] = ["channels", "kinds", "components"];

/// Where the parameters of a pixel stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// The place of each in the graph's own order; none if that is the paper's.
    places: Option<Vec<usize>>,
}

impl Parameters {
    /// Asks for the order of the `count` parameters of a pixel of so many channels.
    pub(crate) fn of(
        file: &str,
        (count, channels): (usize, usize),
        interview: &mut Interview,
    ) -> Result<Self, Mismatch> {
        let each = logistic_mixture::parameters_of_component(channels).unwrap_or(1);
        let (components, kinds) = (count / each, (each - 1) / channels);
        let orders = orders(channels);
        let names: Vec<String> = orders.iter().map(|order| name(order)).collect();
        let options: Vec<(&str, &str)> = names
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), if at == 0 { "as in the paper" } else { "" }))
            .collect();
        let what = if channels == 1 {
            "means and log-scales"
        } else {
            "means, log-scales and coefficients"
        };
        let text = format!(
            "{file}: behind the logits of {components} components, {what} are ordered by (the first changes least \
             often)"
        );
        let answer = interview.ask("parameters", text, &options, &names[0]);
        let Some(chosen) = names.iter().position(|name| *name == answer) else {
            let what = format!("{answer:?} is none of the orders");
            return Err(Problem::new("--declare parameters", what, format!("say one of {}", names.join("; "))).into());
        };
        let coefficients = if channels == 1 {
            ""
        } else {
            ", and coefficients between channels before their hyperbolic tangent"
        };
        interview.note(&format!(
            "{file}: parameters of mixtures are taken as the loss of PixelCNN++ takes them: means and log-scales of \
             levels from -1 to 1{coefficients}; scores of the training framework (--golden) show whether they are"
        ));
        Ok(Self {
            places: (chosen > 0).then(|| places(&orders[chosen], [channels, kinds, components])),
        })
    }

    /// What brings them into the order of the contract.
    pub(crate) fn op(&self) -> Option<Op> {
        self.places.clone().map(Op::Reorder)
    }

    /// Numbers [parameters, H, W] in the order of the contract.
    pub(crate) fn read(&self, values: Vec<f32>) -> Vec<f32> {
        let Some(places) = &self.places else { return values };
        let pixels = values.len() / places.len();
        let of = |&place: &usize| &values[place * pixels..(place + 1) * pixels];
        places.iter().flat_map(of).copied().collect()
    }
}

/// All orders of the axes, that of the paper first; a single channel is no axis.
fn orders(channels: usize) -> Vec<Vec<usize>> {
    let axes: &[[usize; 3]] = &[[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut orders: Vec<Vec<usize>> = Vec::new();
    for order in axes {
        let own: Vec<usize> = order.iter().copied().filter(|&axis| channels > 1 || axis > 0).collect();
        if !orders.contains(&own) {
            orders.push(own);
        }
    }
    orders
}

fn name(order: &[usize]) -> String {
    order.iter().map(|&axis| AXES[axis]).collect::<Vec<_>>().join(",")
}

/// Where parameters that are ordered so stand, in the order of the contract, the logits of the components first.
fn places(order: &[usize], sizes: [usize; 3]) -> Vec<usize> {
    let [channels, kinds, components] = sizes;
    let mut places: Vec<usize> = (0..components).collect();
    for channel in 0..channels {
        for kind in 0..kinds {
            for component in 0..components {
                let at = [channel, kind, component];
                let place = order.iter().fold(0, |place, &axis| place * sizes[axis] + at[axis]);
                places.push(components + place);
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_brought_into_the_order_of_the_paper() {
        let mut interview = Interview::default();
        let own = Parameters::of("m", (20, 3), &mut interview).unwrap();
        assert_eq!((own.op(), interview.open().len()), (None, 1));
        interview.answer("parameters", "kinds,components,channels");
        let own = Parameters::of("m", (20, 3), &mut interview).unwrap();
        // Two logits; then mean of component 0 in three channels, mean of component 1, log-scales, coefficients.
        let Some(Op::Reorder(places)) = own.op() else {
            panic!("{own:?}")
        };
        assert_eq!(places[..8], [0, 1, 2, 5, 8, 11, 14, 17]);
        let pixels = |places: &[usize]| places.iter().flat_map(|&p| [p as f32, 0.5]).collect::<Vec<f32>>();
        assert_eq!(own.read(pixels(&(0..20).collect::<Vec<_>>())), pixels(&places));

        interview.answer("parameters", "components,kinds");
        let own = Parameters::of("m", (6, 1), &mut interview).unwrap();
        assert_eq!(own.op(), Some(Op::Reorder(vec![0, 1, 2, 4, 3, 5])));
        interview.answer("parameters", "channels");
        assert!(Parameters::of("m", (20, 3), &mut interview).is_err());
    }
}
