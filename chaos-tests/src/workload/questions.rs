//! Queries whose exact answers are known: how many samples of each series there are.
//!
//! An answer that is called complete has at least what was acknowledged before the question, and at
//! most what was tried by the time it is there. An error, and an answer with a warning, claim nothing.

use crate::{
    api::Api,
    wait::{pause, wall_millis},
    worker::Worker,
    writer::Progress,
};

/// Kept of what was wrong: the first is what matters.
const SHOWN_MAX: usize = 20;

/// What came of all questions.
#[derive(Debug, Default, Clone)]
pub struct Answers {
    /// Questions.
    pub asked: usize,
    /// Answers that were called complete.
    pub complete: usize,
    /// Errors, and answers with a warning.
    pub marked: usize,
    /// Answers that were called complete and were not.
    pub wrong: Vec<String>,
}

/// The ways to ask.
#[derive(Debug, Clone, Copy)]
enum Question {
    /// A count of each series.
    Counts,
    /// One sum over all shards.
    Sum,
    /// A count of each series, where an old state will do.
    Bounded,
}

/// Starts to ask, again and again, about what these writers write.
pub fn ask_about(api: Api, writers: Vec<Progress>) -> Worker<Answers> {
    Worker::start(move |stop| {
        let mut answers = Answers::default();
        let kinds = [Question::Counts, Question::Sum, Question::Counts, Question::Bounded];
        let mut kinds = kinds.into_iter().cycle();
        while let Some(kind) = kinds.next().filter(|_| !stop.is_set()) {
            for writer in &writers {
                ask(&api, writer, kind, &mut answers);
            }
            pause();
        }
        answers
    })
}

fn ask(api: &Api, writer: &Progress, question: Question, answers: &mut Answers) {
    let counts = format!("count_over_time({}[3h])", writer.selector());
    let query = match question {
        Question::Counts | Question::Bounded => counts,
        Question::Sum => format!("sum({counts})"),
    };
    let (before, _) = writer.batches();
    // All that was tried is older, whatever the clock of the querier.
    let time = format!("{}", wall_millis() / 1000 + 2);
    let consistency = match question {
        Question::Bounded => "bounded",
        Question::Counts | Question::Sum => "linearizable",
    };
    let parameters = [("query", query.as_str()), ("time", &time), ("consistency", consistency)];
    answers.asked += 1;
    let Ok(found) = api.vector_of(&parameters, "instance") else {
        answers.marked += 1;
        return;
    };
    let (_, tried) = writer.batches();
    answers.complete += 1;
    let series = f64::from(writer.series());
    let (rows, each) = match question {
        Question::Counts | Question::Bounded => (series, 1.0),
        Question::Sum => (1.0, series),
    };
    let shortest = found.values().copied().fold(f64::INFINITY, f64::min);
    let longest = found.values().copied().fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "tests are short")]
    let (least, most) = (before as f64 * each, tried as f64 * each);
    let is_short = before > 0 && (found.len() as f64 != rows || shortest < least);
    if (is_short || longest > most) && answers.wrong.len() < SHOWN_MAX {
        answers.wrong.push(format!(
            "{query}, {consistency}: {} of {rows} rows, {shortest} to {longest} where {least} to \
             {most} were to be there, at {}",
            found.len(),
            wall_millis()
        ));
    }
}
