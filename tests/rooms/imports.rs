//! Reads from the tokens of a crate which files need which.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path of names from the root of a crate.
pub(crate) type Names = Vec<String>;
/// The files that each file needs, by the paths of their modules.
pub(crate) type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The modules of a crate.
#[derive(Default)]
pub(crate) struct Crate {
    pub(crate) modules: HashMap<Names, Module>,
}

#[derive(Default)]
pub(crate) struct Module {
    /// The path of the module that is the file.
    file: Names,
    /// Names of the items that the module defines, including methods.
    defines: BTreeSet<String>,
    /// Paths that the module imports, by their names here.
    imports: HashMap<String, Names>,
    /// Paths that the module imports with `*`.
    globs: Vec<Names>,
    /// Every path in the module.
    pub(crate) paths: Vec<Names>,
}

impl Crate {
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_file(root, root.parent().unwrap(), &Names::new());
        tree
    }

    fn read_file(&mut self, file: &Path, children: &Path, name: &Names) {
        let text = std::fs::read_to_string(file).unwrap();
        let tokens: TokenStream =
            text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let module = Module { file: name.clone(), ..Module::default() };
        self.modules.insert(name.clone(), module);
        self.read_tokens(tokens, children, name);
    }

    fn read_tokens(&mut self, tokens: TokenStream, children: &Path, name: &Names) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += match rest {
                [TokenTree::Punct(hash), TokenTree::Group(attribute), ..]
                    if hash.as_char() == '#' && is_for_tests(&attribute.stream()) =>
                {
                    length_of_item(rest)
                }
                // A path in `pub(in …)` is not needed by the file.
                [TokenTree::Ident(word), TokenTree::Group(to), ..]
                    if word == "pub" && to.to_string().starts_with("(in ") =>
                {
                    2
                }
                [TokenTree::Ident(word), TokenTree::Ident(child), end, ..] if word == "mod" => {
                    let child = child_of(name, &child.to_string());
                    self.read_child(end, children, name, &child);
                    3
                }
                [TokenTree::Ident(word), next, ..] if word == "use" && !is(next, '<') => {
                    let end = rest.iter().position(|token| is(token, ';')).unwrap();
                    self.read_use(&rest[1..end], &[], name);
                    end
                }
                [TokenTree::Ident(word), TokenTree::Ident(item), ..]
                    if defines(word) && item != "fn" =>
                {
                    self.module(name).defines.insert(item.to_string());
                    2
                }
                [TokenTree::Punct(dot), TokenTree::Ident(_), ..] if dot.as_char() == '.' => 2,
                [TokenTree::Ident(_), ..] => {
                    let (path, length) = path(rest);
                    if path.len() > 1 {
                        self.module(name).paths.push(path);
                    }
                    length
                }
                [TokenTree::Group(group), ..] => {
                    self.read_tokens(group.stream(), children, name);
                    1
                }
                _ => 1,
            };
        }
    }

    fn read_child(&mut self, end: &TokenTree, folder: &Path, parent: &Names, child: &Names) {
        let folder_of_child = folder.join(child.last().unwrap());
        if let TokenTree::Group(body) = end {
            let file = self.module(parent).file.clone();
            self.modules.insert(child.clone(), Module { file, ..Module::default() });
            self.read_tokens(body.stream(), &folder_of_child, child);
            return;
        }
        let file = PathBuf::from(format!("{}.rs", folder_of_child.display()));
        self.read_file(&file, &folder_of_child, child);
    }

    /// Reads the tree of a `use`, or a part of it in braces, after the names `before` it.
    fn read_use(&mut self, tokens: &[TokenTree], before: &[String], name: &Names) {
        for tree in tokens.split(|token| is(token, ',')).filter(|tree| !tree.is_empty()) {
            let (names, length) = path(tree);
            let is_before = names == ["self"] && !before.is_empty();
            let path = if is_before { before.to_vec() } else { [before, &names].concat() };
            let module = self.module(name);
            match &tree[length..] {
                [TokenTree::Group(group), ..] => {
                    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
                    self.read_use(&tokens, &path, name);
                }
                [TokenTree::Punct(star), ..] if star.as_char() == '*' => {
                    module.paths.push(path.clone());
                    module.globs.push(path);
                }
                [TokenTree::Ident(_as), TokenTree::Ident(other), ..] => {
                    module.paths.push(path.clone());
                    module.imports.insert(other.to_string(), path);
                }
                _ if path.is_empty() => {}
                _ => {
                    module.paths.push(path.clone());
                    module.imports.insert(path[path.len() - 1].clone(), path);
                }
            }
        }
    }

    fn module(&mut self, name: &Names) -> &mut Module {
        self.modules.get_mut(name).unwrap()
    }

    pub(crate) fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (name, module) in &self.modules {
            let all = arrows.entry(shown(&module.file)).or_default();
            for path in &module.paths {
                let file = self.find(name, path, 0).map(|found| &self.modules[&found].file);
                all.extend(file.filter(|file| **file != module.file).map(shown));
            }
        }
        arrows
    }

    /// The module that a path leads to, or that defines the item it leads to; `None` outside the
    /// crate.
    fn find(&self, from: &Names, path: &[String], depth: usize) -> Option<Names> {
        // Two modules that import each other with `*` would never end.
        if depth > 16 {
            return None;
        }
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            _ if self.modules.contains_key(&child_of(from, first)) => child_of(from, first),
            _ => return None,
        };
        while let Some((next, after)) = rest.split_first() {
            rest = after;
            if next == "super" {
                at.pop();
            } else if self.modules.contains_key(&child_of(&at, next)) {
                at = child_of(&at, next);
            } else {
                return self.find_item(&at, next, after, depth);
            }
        }
        Some(at)
    }

    fn find_item(&self, at: &Names, item: &str, after: &[String], depth: usize) -> Option<Names> {
        let module = &self.modules[at];
        if let Some(import) = module.imports.get(item) {
            return self.find(at, &[import, after].concat(), depth + 1);
        }
        if module.defines.contains(item) {
            return Some(at.clone());
        }
        let within = |glob: &Names| {
            let path = [glob.as_slice(), &[item.to_owned()], after].concat();
            let found = self.find(at, &path, depth + 1)?;
            self.modules[&found].defines.contains(item).then_some(found)
        };
        // A name that is neither imported nor defined is made by a macro in this module.
        Some(module.globs.iter().find_map(within).unwrap_or_else(|| at.clone()))
    }
}

/// The path of names at the head of the tokens, and how many tokens it has.
fn path(tokens: &[TokenTree]) -> (Names, usize) {
    let (mut names, mut at) = (Names::new(), 0);
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        names.push(name.to_string());
        at += 1;
        match &tokens[at..] {
            [one, two, ..] if is(one, ':') && is(two, ':') => at += 2,
            _ => break,
        }
    }
    (names, at)
}

/// How many tokens an item has, to its semicolon or to the end of its body.
fn length_of_item(tokens: &[TokenTree]) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is(token, ';'),
    };
    tokens.iter().position(ends).map_or(tokens.len(), |end| end + 1)
}

fn is_for_tests(attribute: &TokenStream) -> bool {
    attribute.to_string().replace(' ', "") == "cfg(test)"
}

fn defines(word: &proc_macro2::Ident) -> bool {
    let words = ["struct", "enum", "union", "trait", "type", "fn", "const", "static"];
    words.iter().any(|one| word == one)
}

fn is(token: &TokenTree, punct: char) -> bool {
    matches!(token, TokenTree::Punct(one) if one.as_char() == punct)
}

fn child_of(of: &Names, name: &str) -> Names {
    [of.as_slice(), &[name.to_owned()]].concat()
}

pub(crate) fn shown(file: &Names) -> String {
    if file.is_empty() { "(root)".to_owned() } else { file.join("::") }
}
