//! The C in the documents: every block in `docs/native/`, in the README and in the header's comments.
//!
//! What a block is, the words behind its fence say:
//!
//! ```text
//! c              a whole program if it has a `main`: it runs on each backend, and a block of text right behind
//!                it is what it prints; else declarations and functions, which compile
//! c statements   the body of a function, which compiles
//! c with FILE    as `c`, where this header of somebody else's is installed
//! c of FILE      stands so, line by line, in a file of ffi/examples, which other tests run
//! cpp            declarations and functions of C++, which compile
//! ```

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

mod support;

use support::{Language, backends, compile, pkg_config, root, run};

/// A block of code, and where it stands.
struct Block {
    file: PathBuf,
    line: usize,
    words: String,
    code: String,
    /// What a program prints, where the document says so.
    says: Option<String>,
}

impl Block {
    fn is_program(&self) -> bool {
        self.words == "c" && self.code.contains("int main(")
    }

    /// Where it stands, for people and for compilers.
    fn place(&self) -> String {
        format!("#line {} \"{}\"\n", self.line, self.file.display())
    }

    /// A file of its own with this text before the code, and this behind it.
    fn source(&self, before: &str, behind: &str) -> PathBuf {
        let name = self.file.file_name().expect("a file").to_string_lossy().replace('.', "_");
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}_{}.c", self.line));
        let text = format!("{before}{}{}{behind}", self.place(), self.code);
        fs::write(&path, text).expect("a scratch file");
        path
    }
}

/// The fenced blocks of a document.
fn blocks(file: &Path) -> Vec<Block> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut found: Vec<Block> = Vec::new();
    let mut lines = text.lines().zip(1..);
    let mut since = usize::MAX;
    while let Some((line, number)) = lines.next() {
        let Some(words) = line.strip_prefix("```") else {
            since = since.saturating_add(usize::from(!line.is_empty()));
            continue;
        };
        let code: String = lines
            .by_ref()
            .take_while(|(line, _)| *line != "```")
            .map(|(line, _)| format!("{line}\n"))
            .collect();
        match (words, found.last_mut()) {
            ("text", Some(last)) if since == 0 && last.is_program() => last.says = Some(code),
            _ => {
                let words = words.to_owned();
                found.push(Block { file: file.to_owned(), line: number + 1, words, code, says: None });
            }
        }
        since = 0;
    }
    found
}

/// The examples in the header's comments: what is indented there, and has the semicolons of code.
fn examples_of_the_header() -> Vec<Block> {
    let file = root().join("../include/polyphony.h");
    let text = fs::read_to_string(&file).expect("the header");
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start()).collect();
    let is_code = |line: &str| line.starts_with("*     ") && !line.starts_with("*     cc ");
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        // An empty line within an example is followed by more of it.
        while at < lines.len()
            && (is_code(lines[at]) || at > first && lines[at] == "*" && is_code(lines[at + 1]))
        {
            at += 1;
        }
        let code: String =
            lines[first..at].iter().map(|line| format!("{}\n", line.get(6..).unwrap_or(""))).collect();
        if code.contains(';') {
            let words = match () {
                () if code.contains("explicit ") => "cpp",
                () if code.contains("static ") => "c",
                () => "c statements",
            };
            let words = words.to_owned();
            found.push(Block { file: file.clone(), line: first + 1, words, code, says: None });
        }
        at += 1;
    }
    found
}

/// Every document with C in it.
fn documents() -> Vec<PathBuf> {
    let pages = fs::read_dir(root().join("../docs/native")).expect("docs/native");
    let mut documents: Vec<_> = pages.map(|page| page.expect("an entry").path()).collect();
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.push(root().join("../README.md"));
    documents.sort();
    documents
}

fn all_blocks() -> Vec<Block> {
    let mut all: Vec<Block> = documents().iter().flat_map(|document| blocks(document)).collect();
    all.extend(examples_of_the_header());
    all.retain(|block| block.words == "cpp" || block.words.split(' ').next() == Some("c"));
    all
}

/// Compiles what is no program.
fn compiles(source: &Path, language: Language) -> Result<(), String> {
    let (compiler, arguments) = match language {
        Language::C => ("cc", ["-std=c99", "-xc"]),
        Language::Cplusplus => ("c++", ["-std=c++11", "-xc++"]),
    };
    let output = Command::new(compiler)
        .args(arguments)
        .args(["-O1", "-Wall", "-Wextra", "-pedantic", "-Werror", "-Wno-unused", "-fsyntax-only"])
        .args(["-include", "tests/snippets/some.h"])
        .arg(source)
        .args(pkg_config().iter().filter(|flag| flag.starts_with("-I")))
        .current_dir(root())
        .output()
        .expect("a compiler");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Compiles what needs a header of somebody else's, where that is.
fn compiles_with(block: &Block, header: &str) -> Result<(), String> {
    let include = format!("#include <{header}>\n");
    let alone = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("with.c");
    fs::write(&alone, &include).expect("a scratch file");
    if compiles(&alone, Language::C).is_err() {
        eprintln!("{header} is not here, so nobody knows whether {} compiles", block.place().trim_end());
        return Ok(());
    }
    compiles(&block.source(&include, ""), Language::C)
}

fn stands_in(block: &Block, example: &str) -> Result<(), String> {
    let example = root().join("examples").join(example);
    let text = fs::read_to_string(&example).map_err(|error| format!("{}: {error}", example.display()))?;
    if text.contains(&block.code) {
        Ok(())
    } else {
        Err(format!("it does not stand so in {}", example.display()))
    }
}

/// What is wrong with a block.
fn check(block: &Block) -> Result<(), String> {
    match block.words.as_str() {
        "c" if block.is_program() => {
            let source = block.source("", "");
            let program = compile(source.to_str().expect("a path of text"), Language::C);
            for backend in backends() {
                let said = run(&program, &backend);
                if let Some(says) = block.says.as_ref().filter(|says| **says != said) {
                    return Err(format!("on {backend} it says\n{said}and not\n{says}"));
                }
            }
            Ok(())
        }
        "c" => compiles(&block.source("", ""), Language::C),
        "c statements" => compiles(&block.source("int64_t snippet(void) {\n", "return 0; }\n"), Language::C),
        "cpp" => compiles(&block.source("", ""), Language::Cplusplus),
        words => match (words.strip_prefix("c of "), words.strip_prefix("c with ")) {
            (Some(example), _) => stands_in(block, example),
            (_, Some(header)) => compiles_with(block, header),
            (None, None) => Err(format!("what is {words}?")),
        },
    }
}

/// Checks blocks on two threads; what is wrong, with its place.
fn complaints(blocks: &[Block]) -> Vec<String> {
    let wrong = |block: &Block| check(block).err().map(|why| format!("{}{why}", block.place()));
    let (one, other) = blocks.split_at(blocks.len() / 2);
    thread::scope(|scope| {
        let threads =
            [one, other].map(|half| scope.spawn(move || half.iter().filter_map(wrong).collect::<Vec<_>>()));
        threads.into_iter().flat_map(|thread| thread.join().expect("a block that does not compile")).collect()
    })
}

#[test]
fn every_block_of_c_in_the_documents_does_what_it_says() {
    let blocks = all_blocks();
    let programs = blocks.iter().filter(|block| block.is_program() && block.says.is_some()).count();
    assert!(programs >= 10, "only {programs} programs say what they print");
    let wrong = complaints(&blocks);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_block_that_is_wrong_is_noticed() {
    let page = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wrong.md");
    let program = "#include <stdio.h>\nint main(void)\n{\n    puts(\"1\");\n    return 0;\n}\n";
    let wrong = format!(
        "```c\n{program}```\n\n```text\n2\n```\n```c\nint one(void) {{ return two; }}\n```\n\
         ```c statements\npoly_sleep();\n```\n```c of chat.c\nint nowhere;\n```\n```cpp\nint x = nullptr;\n```\n"
    );
    fs::write(&page, wrong).expect("a scratch file");
    let blocks = blocks(&page);
    assert_eq!(blocks.len(), 5);
    for (block, why) in
        blocks.iter().zip(["it says\n1\nand not\n2", "two", "poly_sleep", "not stand so", "nullptr"])
    {
        let said = check(block).expect_err("it is wrong");
        assert!(said.contains(why), "{said}");
    }
}

/// The words of a text that begin as the library's names do.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("poly_")).map(str::to_owned).collect()
}

/// A file as text, whatever it is: some example's compiled form may lie beside it.
fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned()
}

/// The text of every file below a directory.
fn texts_below(directory: &Path) -> String {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| if path.is_dir() { texts_below(&path) } else { text_of(&path) })
        .collect()
}

#[test]
fn every_function_is_used_in_an_example_or_a_document() {
    let mut used = names(&texts_below(&root().join("examples")));
    all_blocks().iter().for_each(|block| used.extend(names(&block.code)));
    // What a host of a language does is longer than an example; its test shows all of it.
    let hosts = names(&text_of(&root().join("tests/c/loop.c")));
    used.extend(hosts.into_iter().filter(|name| name.starts_with("poly_loop_")));
    let exported = fs::read_to_string(root().join("abi/symbols.txt")).expect("the list of symbols");
    let unused: Vec<&str> = exported.lines().filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "nobody is shown how to use {}", unused.join(", "));
}

#[test]
fn every_function_that_a_document_names_exists() {
    let header = names(&fs::read_to_string(root().join("../include/polyphony.h")).expect("the header"));
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        // A family is named by its beginning, and what a listing prints is cut.
        let unknown: Vec<String> = (names(&text).into_iter())
            .filter(|name| !header.contains(name) && !name.ends_with('_'))
            .collect();
        assert!(unknown.is_empty(), "{} names {unknown:?}", document.display());
    }
}

/// The names under which links find a document's headings.
fn anchors(document: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(document).unwrap_or_default();
    let name = |title: &str| {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    let titles = text.lines().filter(|line| line.starts_with('#'));
    titles.map(|line| name(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        let directory = document.parent().expect("a directory");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { document.clone() } else { directory.join(path) };
            let found = target.exists() && (anchor.is_empty() || anchors(&target).contains(anchor));
            assert!(found, "{} leads to {link}", document.display());
        }
    }
}
