//! The guided tour in the margin: the present step in full, what was seen in those before it.

use maud::{Markup, html};

use super::form;
use crate::console::{
    tour::{LESSONS, Lesson, LessonState, Step},
    view::View,
};

pub(super) fn render(view: &View, is_locked: bool) -> Markup {
    html! {
        @for (number, (lesson, state)) in LESSONS.iter().zip(&view.tour).enumerate() {
            (one(number, lesson, state, is_locked))
        }
    }
}

fn one(number: usize, lesson: &Lesson, state: &LessonState, is_locked: bool) -> Markup {
    let done = state.saw.len();
    html! {
        details.lesson name="lesson" open[number == 0] {
            summary { (lesson.title) " " span.quiet { (done) "/" (lesson.steps.len()) } }
            p.quiet { (lesson.promise) }
            ol {
                @for (index, step) in lesson.steps.iter().enumerate() {
                    @if index <= done {
                        (shown(&format!("{number}-{index}"), step, state, state.saw.get(index).map(String::as_str)))
                    } @else { li.later { (step.title) } }
                }
            }
            @if done == lesson.steps.len() { p { "The lesson is done. The event log is its post-mortem." } }
            @if done > 0 {
                (form("tour", is_locked, "", &html! {
                    input type="hidden" name="lesson" value=(number);
                    button type="submit" { "Begin again" }
                }))
            }
        }
    }
}

/// Finished or present: the same elements in both, so that a prediction stays where it was made.
fn shown(name: &str, step: &Step, state: &LessonState, saw: Option<&str>) -> Markup {
    html! {
        li.(if saw.is_some() { "finished" } else { "present" }) aria-current=[saw.is_none().then_some("step")] {
            details open[saw.is_none()] {
                summary { (if saw.is_some() { "✓ " } else { "" }) (step.title) }
                p { b { "Do: " } (step.action) }
                fieldset.predict {
                    legend { b { "Predict: " } (step.question) }
                    @for (index, choice) in step.choices.iter().enumerate() {
                        label { input type="radio" name={ "predict-" (name) } value=(index); (choice) }
                    }
                }
                div {
                    @match saw {
                        Some(_) => p { b { "Why: " } (step.why) },
                        None if state.held > 0 => {
                            p { b { "Looking: " } (state.held) " of " (state.needed) " s" }
                            progress max=(state.needed) value=(state.held) aria-label="Seconds seen" {}
                        }
                        None => p.quiet { "The stack does not show it yet." },
                    }
                }
            }
            @if let Some(saw) = saw { p.saw { b { "Seen: " } (saw) } }
        }
    }
}
