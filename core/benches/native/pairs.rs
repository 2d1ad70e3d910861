//! Measuring a row: ours and the reference in turns, each in a process of its own.
//!
//! What a row shows is the median, with the order statistics between which the median lies with 95 %:
//! of the ratios, of the differences, or of our figures, whichever the goal is about. Where that comes
//! near the goal, or the two sides near each other, more pairs are taken, because there the noise is as
//! large as the difference.

use std::{
    env,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use crate::rows::{Goal, Row, Side};

/// Pairs a row, at first.
const FEW: usize = 7;

/// Keeps this process on one core.
fn pin() {
    // SAFETY: a set of processors may be all zeros.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: room for a set.
    unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &mut allowed) };
    // SAFETY: the numbers are within the set.
    let last = (0..libc::CPU_SETSIZE as usize).rev().find(|&core| unsafe { libc::CPU_ISSET(core, &allowed) });
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(last.unwrap_or(0), &mut one) };
    // SAFETY: it reads a set. Where it is refused, the kernel goes on choosing.
    unsafe { libc::sched_setaffinity(0, size_of_val(&one), &one) };
}

/// Measures a row; its line, tab-separated, as bin/bench wants it.
pub(crate) fn line(row: &Row) -> String {
    let most = row.most.min(allowed());
    let few = FEW.min(most);
    let measured = pairs(row, few).and_then(|mut pairs| {
        if most > few && is_close(row, &pairs) {
            pairs.extend(self::pairs(row, most - few)?);
        }
        Ok(pairs)
    });
    match measured {
        Ok(pairs) => described(row, &pairs),
        Err(why) => format!("row\t{}\t{}\t\tnot measured: {why}\t\t\t\t{}", row.name, row.unit, goal(row)),
    }
}

/// How many pairs `POLYPHONY_BENCH_PAIRS` allows: for a look, not for a measurement.
fn allowed() -> usize {
    let most = env::var("POLYPHONY_BENCH_PAIRS").ok().and_then(|most| most.parse().ok());
    most.filter(|most| *most > 0).unwrap_or(usize::MAX)
}

/// A figure of ours and one of the reference's. Without a reference that is nothing.
type Pair = (f64, Option<f64>);

fn pairs(row: &Row, count: usize) -> Result<Vec<Pair>, String> {
    (0..count)
        .map(|_| {
            let reference =
                row.reference.map(|(_, side)| run(command(row, "reference", side))).transpose()?;
            Ok((run(command(row, "ours", Side::Here(row.ours)))?, reference))
        })
        .collect()
}

fn command(row: &Row, which: &str, side: Side) -> Command {
    let (program, arguments) = match side {
        Side::Here(_) => {
            let this = env::current_exe().expect("the path of this program");
            (this, vec!["--side".into(), format!("{which} {}", row.name)])
        }
        Side::Peer(words, measurement) => {
            let peers = env::var_os("POLYPHONY_PEERS").map(PathBuf::from).unwrap_or_default();
            let arguments = words[1..].iter().chain([&measurement]).map(|word| word.to_string());
            (peers.join(words[0]), arguments.collect())
        }
        Side::Nobody(why) => ("echo".into(), vec![why.into()]),
    };
    // A peer that panics may do so a hundred thousand times.
    let complaints = if matches!(side, Side::Peer(..)) { Stdio::null() } else { Stdio::inherit() };
    let mut command = Command::new("timeout");
    command.arg("120").arg(program).args(arguments).stderr(complaints);
    if !row.on_all_cores {
        // SAFETY: it makes two system calls, and nothing else.
        unsafe {
            command.pre_exec(|| {
                pin();
                Ok(())
            })
        };
    }
    command
}

/// The figure that a process prints; what it prints instead, if it has none.
fn run(mut command: Command) -> Result<f64, String> {
    let output = command.output().map_err(|error| format!("timeout(1): {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = match printed.trim() {
        "" => ended(output.status),
        text => text,
    };
    said.parse().map_err(|_| said.to_owned())
}

/// Why a process has printed no figure, as timeout(1) tells it.
fn ended(status: ExitStatus) -> &'static str {
    match status.code().or(status.signal().map(|signal| 128 + signal)) {
        Some(124) => "it takes more than two minutes",
        Some(126 | 127) => "it is not there (core/benches/peers/build says why)",
        Some(134) => "it aborts",
        Some(139) => "it ends with a segmentation fault",
        _ => "it fails",
    }
}

/// Whether noise could decide: the sides are close to each other, or the row to its goal.
fn is_close(row: &Row, pairs: &[Pair]) -> bool {
    let near = |value: f64, goal: f64| (value / goal - 1.0).abs() < 0.15;
    ratios(pairs).is_some_and(|ratios| median(&ratios) < 1.2 && median(&ratios) > 1.0 / 1.2)
        || match row.goal {
            Some(Goal::Times(goal) | Goal::Figure(goal)) => near(median(&judged(row, pairs)), goal),
            Some(Goal::More(_)) => true,
            None => false,
        }
}

/// What the goal is about, pair by pair.
fn judged(row: &Row, pairs: &[Pair]) -> Vec<f64> {
    let ours = || pairs.iter().map(|pair| pair.0).collect();
    match row.goal {
        Some(Goal::Figure(_)) => ours(),
        Some(Goal::More(_)) => pairs.iter().map(|pair| pair.0 - pair.1.unwrap_or(0.0)).collect(),
        Some(Goal::Times(_)) | None => ratios(pairs).unwrap_or_else(ours),
    }
}

fn ratios(pairs: &[Pair]) -> Option<Vec<f64>> {
    pairs.iter().map(|&(ours, reference)| Some(ours / reference?)).collect()
}

fn described(row: &Row, pairs: &[Pair]) -> String {
    let ours = median(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let theirs: Vec<f64> = pairs.iter().filter_map(|pair| pair.1).collect();
    let figure = |value: f64| if row.unit == "calls" { format!("{value:.3}") } else { format!("{value:.1}") };
    let reference = row.reference.map_or("", |(name, _)| name);
    let theirs = if theirs.is_empty() { String::new() } else { figure(median(&theirs)) };
    let ratio = ratios(pairs).map_or(String::new(), |ratios| format!("{:.2}", median(&ratios)));
    let (low, high) = interval(judged(row, pairs));
    let interval = match row.goal {
        _ if pairs.len() == 1 => String::new(),
        Some(Goal::Figure(_)) => format!("{low:.1}-{high:.1}"),
        Some(Goal::More(_)) => format!("{low:+.1} to {high:+.1}"),
        Some(Goal::Times(_)) | None => format!("{low:.2}-{high:.2}"),
    };
    let (name, unit, ours, goal) = (&row.name, row.unit, figure(ours), goal(row));
    format!("row\t{name}\t{unit}\t{ours}\t{reference}\t{theirs}\t{ratio}\t{interval}\t{goal}")
}

fn goal(row: &Row) -> String {
    match row.goal {
        Some(Goal::Times(times)) => ((times * 1000.0).round() / 1000.0).to_string(),
        Some(Goal::Figure(figure)) => format!("{figure} {}", row.unit),
        Some(Goal::More(more)) => format!("+{more} {}", row.unit),
        None => String::new(),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The order statistics between which the median lies with 95 %.
fn interval(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let low = (count / 2.0 - 0.98 * count.sqrt()).floor() - 1.0;
    let low = low.max(0.0) as usize;
    (values[low], values[values.len() - 1 - low])
}
