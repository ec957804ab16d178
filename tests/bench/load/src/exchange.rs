//! What is sent: the request's head, and bodies with the answers to them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::answer::{Answer, Tolerance, framed};
use crate::request_head::RequestHead;

/// A request's body as gRPC sends it, and what must come back; without an answer, anything may.
#[derive(Debug)]
pub struct Exchange {
    pub request: Vec<u8>,
    pub answer: Option<Answer>,
}

/// The head that all requests have, and the exchanges that are used in turn.
#[derive(Debug)]
pub struct Exchanges {
    pub head: RequestHead,
    all: Vec<Exchange>,
}

impl Exchanges {
    /// `answers` are as many as `requests`, or one for all, or none.
    pub fn new(
        head: RequestHead,
        requests: &[Vec<u8>],
        answers: &[Vec<u8>],
        tolerances: &[Tolerance],
    ) -> Result<Self, String> {
        if requests.is_empty() {
            return Err("there is no request".into());
        }
        if answers.len() > 1 && answers.len() != requests.len() {
            let (answers, requests) = (answers.len(), requests.len());
            return Err(format!(
                "{answers} answers for {requests} requests: give one each, or one for all"
            ));
        }
        let exchange = |(index, request): (usize, &Vec<u8>)| {
            let wanted = if answers.len() == 1 { 0 } else { index };
            let answer = answers
                .get(wanted)
                .map(|answer| Answer::new(answer, wanted, tolerances));
            Ok(Exchange {
                request: framed(request),
                answer: answer.transpose()?,
            })
        };
        let all = requests
            .iter()
            .enumerate()
            .map(exchange)
            .collect::<Result<_, String>>()?;
        Ok(Self { head, all })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The one with this number.
    pub fn get(&self, index: usize) -> &Exchange {
        &self.all[index]
    }
}

/// The contents of all `files`. An error names the one that cannot be read.
pub fn read_all(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let read = |file: &Path| {
        fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
    };
    files.iter().map(|file| read(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_head::Scheme;

    fn exchanges(requests: usize, answers: usize) -> Result<Exchanges, String> {
        let bodies = |count| {
            (0..count)
                .map(|number| vec![number as u8])
                .collect::<Vec<_>>()
        };
        Exchanges::new(
            RequestHead::new(Scheme::Http, "/a/b", "h", None),
            &bodies(requests),
            &bodies(answers),
            &[],
        )
    }

    #[test]
    fn one_answer_is_for_all_requests() {
        let exchanges = exchanges(3, 1).unwrap();

        assert_eq!(exchanges.len(), 3);
        assert!((0..3).all(|index| exchanges.get(index).answer.is_some()));
    }

    #[test]
    fn no_answer_is_for_none() {
        assert!(exchanges(2, 0).unwrap().get(1).answer.is_none());
    }

    #[test]
    fn other_numbers_of_answers_are_refused() {
        assert!(
            exchanges(3, 2)
                .unwrap_err()
                .contains("2 answers for 3 requests")
        );
        assert!(exchanges(0, 0).is_err());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        assert!(
            read_all(&["/nowhere/x".into()])
                .unwrap_err()
                .contains("/nowhere/x")
        );
    }
}
