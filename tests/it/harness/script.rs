//! What a stub provider does with one request, as data: a list of steps that may end in any kind of misbehaviour.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::wait::Gate;

/// How much of the request is read before the steps begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The whole request.
    Whole,
    /// Only its head: the answer comes before the body was read.
    Head,
}

/// How the end of a body is told on HTTP/1.1. HTTP/2 has its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    /// By the end of the connection.
    Close,
    /// No body at all.
    Empty,
}

#[derive(Clone)]
pub enum Step {
    /// 1xx.
    Interim(u16, Vec<(String, String)>),
    Head(u16, Vec<(String, String)>, Framing),
    /// One piece: one write, one chunk, one DATA frame.
    Body(Bytes),
    /// Stops until the test opens the gate.
    Gate(Gate),
    /// Time between two pieces: only where time itself is what is tested.
    Pause(Duration),
    /// The proper end of the answer; the connection stays open for the next request.
    End,
    /// The proper end, then the connection is closed although nothing said so.
    EndAndClose,
    /// The connection is reset (RST).
    Reset,
    /// The connection is closed (FIN) where it stands.
    Close,
    /// HTTP/2: the stream is reset with this code. On HTTP/1.1 like `Reset`.
    StreamReset(h2::Reason),
    /// HTTP/2: GOAWAY with this code; the connection ends. On HTTP/1.1 like `Close`.
    GoAway(h2::Reason),
    /// Nothing more, for as long as the other side keeps the connection.
    Silence,
    /// Bytes as they are, past all framing (HTTP/1.1 only).
    Raw(Bytes),
    /// Reads what is left of a request whose head alone was read.
    ReadBody,
}

#[derive(Clone)]
pub struct Script {
    pub read: Read,
    pub steps: Vec<Step>,
}

impl Script {
    pub fn steps(steps: impl Into<Vec<Step>>) -> Script {
        Script { read: Read::Whole, steps: steps.into() }
    }
    /// A whole answer with a content-length.
    pub fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Script {
        let body = body.into();
        let head = Step::Head(status, pairs(&[("content-type", content_type)]), Framing::Length(body.len()));
        Script::steps([head, Step::Body(body), Step::End])
    }
    pub fn json(status: u16, body: Value) -> Script {
        Script::answer(status, "application/json", body.to_string())
    }
    /// An event stream, a piece an event, ended properly.
    pub fn stream<T: Into<Bytes>>(events: impl IntoIterator<Item = T>) -> Script {
        let mut script = Script::open_stream(events);
        script.steps.push(Step::End);
        script
    }
    /// An event stream that has not ended; add what comes then.
    pub fn open_stream<T: Into<Bytes>>(events: impl IntoIterator<Item = T>) -> Script {
        let head = Step::Head(200, pairs(&[("content-type", "text/event-stream")]), Framing::Chunked);
        let mut steps = vec![head];
        steps.extend(events.into_iter().map(|event| Step::Body(event.into())));
        Script::steps(steps)
    }
    /// Like [`Script::stream`], stopping at `gate` before each event but the first.
    pub fn gated_stream<T: Into<Bytes>>(events: impl IntoIterator<Item = T>, gate: &Gate) -> Script {
        let mut script = Script::stream(events);
        let first = script.steps.iter().position(|s| matches!(s, Step::Body(_))).unwrap() + 1;
        let mut steps: Vec<Step> = script.steps.drain(..first).collect();
        for step in script.steps {
            if matches!(step, Step::Body(_)) {
                steps.push(Step::Gate(gate.clone()));
            }
            steps.push(step);
        }
        Script::steps(steps)
    }
    pub fn then(mut self, step: Step) -> Script {
        self.steps.push(step);
        self
    }
    /// All steps of another script behind these.
    pub fn then_all(mut self, other: Script) -> Script {
        self.steps.extend(other.steps);
        self
    }
    /// The same, before the body of the request was read.
    pub fn before_body(mut self) -> Script {
        self.read = Read::Head;
        self
    }
    /// Adds a header to the answer's head, or replaces it.
    pub fn header(mut self, name: &str, value: &str) -> Script {
        for step in &mut self.steps {
            if let Step::Head(_, headers, _) = step {
                headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name) || name.eq_ignore_ascii_case("set-cookie"));
                headers.push((name.to_owned(), value.to_owned()));
            }
        }
        self
    }
    /// Cuts the answer's body after `bytes` bytes and ends with `end`.
    pub fn cut(mut self, bytes: usize, end: Step) -> Script {
        let mut left = bytes;
        let mut steps = Vec::new();
        for step in self.steps.drain(..) {
            match step {
                Step::Body(piece) if piece.len() > left => {
                    steps.push(Step::Body(piece.slice(..left)));
                    break;
                }
                Step::Body(piece) => {
                    left -= piece.len();
                    steps.push(Step::Body(piece));
                }
                Step::End | Step::EndAndClose => break,
                other => steps.push(other),
            }
        }
        steps.push(end);
        self.steps = steps;
        self
    }
    /// The same body in pieces of `size` bytes.
    pub fn in_pieces(mut self, size: usize) -> Script {
        let mut steps = Vec::new();
        for step in self.steps.drain(..) {
            match step {
                Step::Body(piece) => steps.extend(piece.chunks(size).map(|c| Step::Body(piece.slice_ref(c)))),
                other => steps.push(other),
            }
        }
        self.steps = steps;
        self
    }
    /// All bytes of the body that this script sends.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for step in &self.steps {
            if let Step::Body(piece) = step {
                body.extend_from_slice(piece);
            }
        }
        body
    }
}

/// Takes the request, then resets the connection before any byte of an answer.
pub fn reset_before_answer() -> Script {
    Script::steps([Step::Reset])
}
/// Takes the request, then closes the connection before any byte of an answer.
pub fn close_before_answer() -> Script {
    Script::steps([Step::Close])
}
/// Closes the connection as soon as the head is there.
pub fn close_before_reading() -> Script {
    Script::steps([Step::Close]).before_body()
}
/// Takes the request and never answers.
pub fn silence() -> Script {
    Script::steps([Step::Silence])
}

pub fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
}
