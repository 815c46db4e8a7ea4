//! YAML text as a tree that knows its lines and keeps each scalar as it was written.
//!
//! Built from saphyr's events in one pass, since that alone gives all three things a configuration wants: the line of *every* value
//! (for faults of reference too), the written text of numbers (money never goes through a float), and a tree to go on in after a
//! fault. JSON is YAML. Bounded: 64 levels, and aliases may copy 200,000 nodes in all ("billion laughs").

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::fault::Wrong;

const DEPTH_MAX: usize = 64;
const ALIASED_NODES_MAX: usize = 200_000;

/// One value and the line on which it begins (from 1).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node<'t> {
    pub(super) line: u32,
    pub(super) data: Data<'t>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data<'t> {
    /// `plain`: written without quotes, so that an empty one or `null` is nothing.
    Scalar {
        text: Cow<'t, str>,
        plain: bool,
    },
    List(Vec<Node<'t>>),
    Map(Vec<Entry<'t>>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) line: u32,
    pub(super) value: Node<'t>,
}

impl Node<'_> {
    /// Whether nothing stands here: `~`, `null` or empty.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, plain: true } if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// A fault found while reading: its line, its path, and for the second of two equal fields the line of the first.
#[derive(Debug)]
pub(super) struct TreeFault {
    pub(super) line: u32,
    pub(super) path: String,
    pub(super) wrong: TreeWrong,
}

#[derive(Debug)]
pub(super) enum TreeWrong {
    Wrong(Wrong),
    GivenTwice { first: u32 },
}

/// The tree of `text`, if it is YAML at all, and what is wrong with it.
pub(super) fn parse(text: &str) -> (Option<Node<'_>>, Vec<TreeFault>) {
    // A panic in the parser is no fault of ours to die of: a reload must leave the old configuration in force.
    catch_unwind(AssertUnwindSafe(|| {
        let mut builder = Builder::default();
        let root = builder.build(text);
        (root, builder.faults)
    }))
    .unwrap_or_else(|_| (None, vec![TreeFault::new(1, String::new(), Wrong::NotYaml { error: "the parser gave up".into() })]))
}

impl TreeFault {
    fn new(line: u32, path: String, wrong: Wrong) -> TreeFault {
        TreeFault { line, path, wrong: TreeWrong::Wrong(wrong) }
    }
}

/// A list or mapping that is still open.
struct Frame<'t> {
    line: u32,
    anchor: usize,
    open: Open<'t>,
}

enum Open<'t> {
    List(Vec<Node<'t>>),
    Map {
        entries: Vec<Entry<'t>>,
        name: Option<(Cow<'t, str>, u32)>,
        /// Values of `<<`, taken in when the mapping ends.
        merges: Vec<Node<'t>>,
        /// The name to come is a list or mapping (already told), so its value is dropped.
        skip: bool,
    },
}

#[derive(Default)]
struct Builder<'t> {
    stack: Vec<Frame<'t>>,
    anchors: HashMap<usize, Node<'t>>,
    aliased: usize,
    root: Option<Node<'t>>,
    faults: Vec<TreeFault>,
}

/// Whether the document goes on after an event.
enum Next {
    Go,
    Stop,
}

impl<'t> Builder<'t> {
    fn build(&mut self, text: &'t str) -> Option<Node<'t>> {
        let mut parser = Parser::<StrInput<'t>>::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    // The scanner's words never hold text of the file, apart from a single character.
                    let wrong = Wrong::NotYaml { error: error.info().to_owned() };
                    self.faults.push(TreeFault::new(line_of(error.marker().line()), String::new(), wrong));
                    return None;
                }
            };
            match self.take(event, span) {
                Next::Go => {}
                Next::Stop => return None,
            }
        }
        self.root.take()
    }

    fn take(&mut self, event: Event<'t>, span: Span) -> Next {
        let line = line_of(span.start.line());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text_wanted = tag.as_ref().is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
                    self.fault(line, Wrong::Tagged);
                }
                let plain = style == ScalarStyle::Plain && !text_wanted;
                self.put(Node { line, data: Data::Scalar { text, plain } }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
                    self.fault(line, Wrong::Tagged);
                }
                self.open(Frame { line, anchor, open: Open::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
                    self.fault(line, Wrong::Tagged);
                }
                let open = Open::Map { entries: Vec::new(), name: None, merges: Vec::new(), skip: false };
                self.open(Frame { line, anchor, open })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, line),
            Event::DocumentStart(_) if self.root.is_some() => {
                self.fault(line, Wrong::SecondDocument);
                Next::Stop
            }
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => Next::Go,
        }
    }

    fn open(&mut self, frame: Frame<'t>) -> Next {
        if self.stack.len() >= DEPTH_MAX {
            self.fault(frame.line, Wrong::TooDeep);
            return Next::Stop;
        }
        self.stack.push(frame);
        Next::Go
    }

    fn close(&mut self) -> Next {
        // The parser opens before it closes.
        let Some(frame) = self.stack.pop() else { return Next::Stop };
        let data = match frame.open {
            Open::List(items) => Data::List(items),
            Open::Map { mut entries, merges, .. } => {
                self.check_names(&entries);
                let mut merging = merges;
                for merged in merging.drain(..) {
                    self.merge(&mut entries, merged);
                }
                Data::Map(entries)
            }
        };
        self.put(Node { line: frame.line, data }, frame.anchor)
    }

    /// Puts a complete node where it belongs: as name or value of the mapping, item of the list, or root.
    fn put(&mut self, node: Node<'t>, anchor: usize) -> Next {
        if anchor != 0 {
            let Some(copy) = self.copy(&node) else { return Next::Stop };
            self.anchors.insert(anchor, copy);
        }
        let line = node.line;
        let mut bad_name = false;
        match self.stack.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(node),
            Some(Open::List(items)) => items.push(node),
            Some(Open::Map { entries, name, merges, skip }) => match name.take() {
                _ if *skip => *skip = false,
                Some((given, _)) if given == "<<" => merges.push(node),
                Some((given, at)) => entries.push(Entry { name: given, line: at, value: node }),
                None => match node.data {
                    // A quoted "<<" is as much a merge as a plain one: no field here has that name.
                    Data::Scalar { text, .. } => *name = Some((text, line)),
                    Data::List(_) | Data::Map(_) => {
                        *skip = true;
                        bad_name = true;
                    }
                },
            },
        }
        if bad_name {
            self.fault(line, Wrong::KeyNoScalar);
        }
        Next::Go
    }

    fn alias(&mut self, anchor: usize, line: u32) -> Next {
        let Some(node) = self.anchors.remove(&anchor) else {
            self.fault(line, Wrong::UnknownAnchor);
            return Next::Stop;
        };
        let copy = self.copy(&node);
        self.anchors.insert(anchor, node);
        match copy {
            Some(copy) => self.put(copy, 0),
            None => Next::Stop,
        }
    }

    /// A copy of what an anchor holds, unless too much has been copied already.
    fn copy(&mut self, node: &Node<'t>) -> Option<Node<'t>> {
        self.aliased += node.count();
        if self.aliased > ALIASED_NODES_MAX {
            self.fault(node.line, Wrong::TooManyAliases);
            return None;
        }
        Some(node.clone())
    }

    /// `<<`: fields of the merged mapping that are not given already; of a list the first counts.
    fn merge(&mut self, entries: &mut Vec<Entry<'t>>, merged: Node<'t>) {
        match merged.data {
            Data::Map(more) => {
                let given: HashSet<String> = entries.iter().map(|entry| entry.name.to_string()).collect();
                entries.extend(more.into_iter().filter(|entry| !given.contains(&*entry.name)));
            }
            Data::List(items) if items.iter().all(|item| matches!(item.data, Data::Map(_))) => {
                items.into_iter().for_each(|item| self.merge(entries, item));
            }
            Data::List(_) | Data::Scalar { .. } => self.fault(merged.line, Wrong::BadMerge),
        }
    }

    fn check_names(&mut self, entries: &[Entry<'t>]) {
        // Most mappings have a few fields: comparing each with each is quicker than a table, and a large one gets a table.
        let mut twice: Vec<(usize, u32)> = Vec::new();
        if entries.len() <= 16 {
            for (index, entry) in entries.iter().enumerate() {
                if let Some(first) = entries[..index].iter().find(|other| other.name == entry.name) {
                    twice.push((index, first.line));
                }
            }
        } else {
            let mut seen: HashMap<&str, u32> = HashMap::new();
            for (index, entry) in entries.iter().enumerate() {
                match seen.get(&*entry.name) {
                    Some(first) => twice.push((index, *first)),
                    None => drop(seen.insert(&entry.name, entry.line)),
                }
            }
        }
        for (index, first) in twice {
            let entry = &entries[index];
            let path = join(&self.path(), &entry.name);
            self.faults.push(TreeFault { line: entry.line, path, wrong: TreeWrong::GivenTwice { first } });
        }
    }

    /// The path of what is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match &frame.open {
                Open::List(items) => path.push_str(&format!("[{}]", items.len())),
                Open::Map { name: Some((name, _)), .. } => path = join(&path, name),
                Open::Map { name: None, .. } => {}
            }
        }
        path
    }

    fn fault(&mut self, line: u32, wrong: Wrong) {
        let path = self.path();
        self.faults.push(TreeFault::new(line, path, wrong));
    }
}

impl Node<'_> {
    fn count(&self) -> usize {
        match &self.data {
            Data::Scalar { .. } => 1,
            Data::List(items) => 1 + items.iter().map(Node::count).sum::<usize>(),
            Data::Map(entries) => 1 + entries.iter().map(|entry| 1 + entry.value.count()).sum::<usize>(),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    let name = super::read::shown_name(name);
    if path.is_empty() { name.into_owned() } else { format!("{path}.{name}") }
}

fn line_of(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX).max(1)
}
