//! `edgeproxy top`: the apps and backends of a running edgeproxy, live, on the whole terminal.
//!
//! What is shown is a [`State`], a function of messages; this joins it to the terminal, the signals and the API.

mod draw;
mod feed;
mod figures;
mod fleet;
mod layout;
mod state;
mod wire;

#[cfg(test)]
mod fixture;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use edgeproxy_config::Paint;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::output::{paint, tell};
use crate::remote::{Api, Remote, failed, in_runtime};
use crate::top::draw::{Colours, Glyphs, Look, draw};
use crate::top::feed::Begun;
use crate::top::state::{Act, Message, State};

/// Which edgeproxy.
#[derive(Args, Debug)]
pub(crate) struct TopOptions {
    #[command(flatten)]
    remote: Remote,
}

/// What waits to be shown. Whoever has more to tell waits.
const QUEUE: usize = 256;

/// Watches until somebody quits.
pub(crate) fn top(options: &TopOptions) -> ExitCode {
    if let Err(why) = suits() {
        tell(&format!(
            "edgeproxy: {why}; without one there are `edgeproxy backends` and `edgeproxy events --follow`\n"
        ));
        return ExitCode::from(2);
    }
    match in_runtime(watched(&options.remote)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// Whether there is a terminal that can be drawn on.
fn suits() -> Result<(), &'static str> {
    if !io::stdout().is_terminal() {
        return Err("top draws on a terminal, and its standard output is none");
    }
    if !io::stdin().is_terminal() {
        return Err("top reads keys from a terminal, and its standard input is none");
    }
    match std::env::var("TERM").as_deref() {
        Ok("dumb") => Err("top draws on a terminal that can move its cursor, and this one can't (TERM=dumb)"),
        _ => Ok(()),
    }
}

fn look() -> Look {
    // The first of them that is set says what characters there are (POSIX, section 8.2).
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty())
        .unwrap_or_default()
        .to_lowercase();
    let has_unicode = locale.contains("utf-8") || locale.contains("utf8");
    Look {
        colours: match paint(&io::stdout()) {
            Paint::Colours => Colours::Some,
            Paint::Plain => Colours::None,
        },
        glyphs: if has_unicode {
            Glyphs::Unicode
        } else {
            Glyphs::Ascii
        },
    }
}

async fn watched(remote: &Remote) -> anyhow::Result<ExitCode> {
    // Before the screen is taken: what is wrong with the address or the token is to be read afterwards.
    let mut api = Api::warned(remote)?;
    let Begun {
        listed,
        events,
        last_id,
    } = feed::begin(&mut api).await?;
    let mut ends = Ends::catch().context("signals can't be caught")?;
    // Before its size is read: what changes it later is told.
    let resized = signal(SignalKind::window_change()).context("signals can't be caught")?;
    let look = look();
    let mut screen = Screen::take().context("the terminal can't be drawn on")?;
    let size = screen.0.size()?;
    let state = State::new(
        api.url().to_owned(),
        listed,
        events,
        (size.width, size.height),
        Instant::now(),
    );
    let (messages, heard) = mpsc::channel(QUEUE);
    let (acts, wanted) = mpsc::channel(QUEUE);
    let feed = tokio::spawn(feed::follow(remote.clone(), last_id, messages.clone()));
    let asker = tokio::spawn(feed::ask(remote.clone(), wanted, messages));
    tokio::select! {
        done = looped(&mut screen, look, state, resized, heard, acts) => done.map(|()| ExitCode::SUCCESS),
        code = ends.next() => Ok(code),
        _ = feed => anyhow::bail!("what follows the events has failed"),
        _ = asker => anyhow::bail!("what asks the API has failed"),
    }
}

/// Shows the state after each message, until somebody quits.
async fn looped(
    screen: &mut Screen,
    look: Look,
    mut state: State,
    mut resized: Signal,
    mut heard: mpsc::Receiver<Message>,
    acts: mpsc::Sender<Act>,
) -> anyhow::Result<()> {
    let mut pressed = keys();
    loop {
        state.settle();
        screen.0.draw(|frame| draw(&state, look, frame))?;
        let deadline = state.deadline().map(tokio::time::Instant::from_std);
        let mut next = tokio::select! {
            message = heard.recv() => message,
            _ = resized.recv() => {
                let size = screen.0.size()?;
                Some(Message::Resized(size.width, size.height))
            }
            message = pressed.recv() => Some(message.context("the terminal is gone")?),
            () = async { tokio::time::sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)).await }, if deadline.is_some() => {
                Some(Message::Time)
            }
        };
        // What has come together is drawn together.
        while let Some(message) = next {
            for act in state.handle(message, Instant::now()) {
                match act {
                    Act::Quit => return Ok(()),
                    act => acts.send(act).await?,
                }
            }
            next = pressed.try_recv().or_else(|_| heard.try_recv()).ok();
        }
    }
}

/// The terminal's keys, read by a thread of their own: a read can't be given up.
fn keys() -> mpsc::Receiver<Message> {
    let (tell, told) = mpsc::channel(QUEUE);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if let Event::Key(key) = event
                && tell.blocking_send(Message::Key(key)).is_err()
            {
                return;
            }
        }
    });
    told
}

/// The terminal, while it is drawn on. However this ends, also by a panic, the terminal is as it was before.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> io::Result<Self> {
        // It sets a panic hook that restores before the words of the panic are written.
        ratatui::try_init().map(Self).inspect_err(|_| ratatui::restore())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        ratatui::restore();
    }
}

/// The signals that end it.
struct Ends([(Signal, u8); 3]);

impl Ends {
    fn catch() -> io::Result<Self> {
        Ok(Self([
            (signal(SignalKind::hangup())?, 1),
            (signal(SignalKind::interrupt())?, 2),
            (signal(SignalKind::terminate())?, 15),
        ]))
    }

    /// As a shell reports it of a process that the signal ended: 128 and its number.
    async fn next(&mut self) -> ExitCode {
        let [(a, x), (b, y), (c, z)] = &mut self.0;
        let number = tokio::select! {
            _ = a.recv() => *x,
            _ = b.recv() => *y,
            _ = c.recv() => *z,
        };
        ExitCode::from(128 + number)
    }
}
