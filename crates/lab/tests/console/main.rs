//! The console in a real browser (`chromium`, driven through `chromedriver`), over a real stack.
//!
//! One stack and one browser for everything: the parts run one after the other, and each leaves the stack whole.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in its helpers")]

mod acting;
mod browser;
mod lasting;
mod looks;
mod safety;
mod scene;
mod states;
mod watching;

use std::time::Instant;

use scene::Scene;

type Part = (&'static str, fn(&mut Scene));

const PARTS: [Part; 18] = [
    ("what has no token or another one only watches", safety::what_has_no_token_only_watches),
    ("a second console leads to the first", safety::a_second_console_leads_to_the_first),
    ("a console that is killed leaves nothing broken", safety::a_console_that_is_killed_leaves_nothing_broken),
    ("the page loads without complaints", watching::the_page_loads_without_complaints),
    ("axe finds nothing", looks::axe_finds_nothing),
    ("a click on pause shows the fault and its effects", acting::a_click_on_pause_shows_the_fault_and_its_effects),
    ("two tabs and a reload see the same", watching::two_tabs_and_a_reload_see_the_same),
    ("heal all makes the stack whole", acting::heal_all_makes_the_stack_whole),
    ("the keyboard alone is enough", acting::the_keyboard_alone_is_enough),
    ("it fits wide and narrow screens, light and dark", looks::it_fits_wide_and_narrow_screens_light_and_dark),
    ("nothing moves where that is not wanted", looks::nothing_moves_where_that_is_not_wanted),
    ("without scripts it is readable and forms work", acting::without_scripts_it_is_readable_and_forms_work),
    ("a run is watched live, and its report opens", watching::a_run_is_watched_live_and_its_report_opens),
    ("a stream that was cut goes on", watching::a_stream_that_was_cut_goes_on),
    ("nine replicas are drawn beside each other", states::nine_replicas_are_drawn_beside_each_other),
    ("a replica that vanishes is drawn as stopped", states::a_replica_that_vanishes_is_drawn_as_stopped),
    ("without a stack the page says so and can start it", states::without_a_stack_the_page_says_so_and_can_start_it),
    ("a day in a tab adds nothing", lasting::a_day_in_a_tab_adds_nothing),
];

#[test]
fn the_console_in_a_browser() {
    let mut scene = Scene::open();
    for (name, part) in PARTS {
        let start = Instant::now();
        eprintln!("{name} …");
        part(&mut scene);
        eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f64());
    }
}
