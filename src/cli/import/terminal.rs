//! Questions of an import at the terminal, or what is likely without one.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
};

use crate::{
    cli::{
        image_set::{Handling, ImageSet},
        inputs::DecodeArgs,
        say,
        spinner::Spinner,
    },
    domain::image::{Image, ImageShape},
    families::import::{Answers, Host, Question},
    media::DecodeOptions,
};

/// Asks at the terminal, or takes what is likely.
pub(super) struct Terminal {
    pub(super) yes: bool,
    /// What is done to files so that they fit.
    pub(super) preprocessing: DecodeOptions,
    /// What is being done.
    pub(super) spinner: Spinner,
}

impl Host for Terminal {
    fn answer(&mut self, questions: &[Question]) -> Option<Answers> {
        self.spinner.aside(|| self.answers(questions))
    }

    fn images(&mut self, path: &Path, shape: ImageShape) -> Result<Vec<Image>, String> {
        let handling = Handling {
            decoding: DecodeArgs::default(),
            strict: true,
        };
        let read = ImageSet::read_as(&[path.to_owned()], (shape, self.preprocessing), handling);
        read.map(|gathered| gathered.images).map_err(|error| error.to_string())
    }

    fn say(&mut self, line: &str) {
        self.spinner.aside(|| say(line));
    }

    fn begin(&mut self, work: &str) {
        self.spinner.go_on(work);
    }
}

impl Terminal {
    fn answers(&self, questions: &[Question]) -> Option<Answers> {
        let are_likely = questions.iter().all(|question| !question.likely.is_empty());
        if self.yes && are_likely {
            let taken = |question: &Question| {
                let is_it = |option: &&(String, String)| option.0 == question.likely && !option.1.is_empty();
                let meaning = question.options.iter().find(is_it);
                say(&format!(
                    "{} = {} is assumed{}: {}",
                    question.key,
                    question.likely,
                    meaning.map_or(String::new(), |(_, meaning)| format!(" ({meaning})")),
                    question.text
                ));
                (question.key.clone(), question.likely.clone())
            };
            return Some(Answers {
                answers: questions.iter().map(taken).collect(),
                are_assumed: true,
            });
        }
        if !self.yes && io::stdin().is_terminal() {
            let answers: Option<Vec<_>> = questions.iter().map(ask).collect();
            return answers.map(|answers| Answers {
                answers,
                are_assumed: false,
            });
        }
        say(if are_likely {
            "what no file tells has to be said; --yes takes what is likely:"
        } else {
            "what no file tells has to be said, and what is not likely is not taken by --yes:"
        });
        for question in questions {
            say(&format!("  {}", question.text));
            for (value, meaning) in &question.options {
                let mark = if *value == question.likely { ", likely" } else { "" };
                say(&format!("    --declare \"{}={value}\"  {meaning}{mark}", question.key));
            }
        }
        None
    }
}

/// One question at the terminal; an empty line is the likely answer, if there is one, and the end of the input none.
fn ask(question: &Question) -> Option<(String, String)> {
    say(&question.text);
    for (number, (value, meaning)) in (1..).zip(&question.options) {
        say(&format!("  {number}  {value}  {meaning}"));
    }
    loop {
        let mut error = io::stderr().lock();
        // With standard error gone there is nobody to ask.
        let _ = write!(error, "[{}] ", question.likely).and_then(|()| error.flush());
        let mut line = String::new();
        if io::stdin().read_line(&mut line).ok()? == 0 {
            return None;
        }
        let answer = line.trim();
        let by_number = answer
            .parse::<usize>()
            .ok()
            .and_then(|number| question.options.get(number.checked_sub(1)?));
        let value = match by_number {
            _ if answer.is_empty() && !question.likely.is_empty() => question.likely.clone(),
            Some((value, _)) => value.clone(),
            None if question.options.is_empty() || question.options.iter().any(|(value, _)| value == answer) => {
                answer.to_owned()
            }
            None => continue,
        };
        return Some((question.key.clone(), value));
    }
}
