package top

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

// The times of the screen.
const (
	lookPatience   = 10 * time.Second // for an answer
	actPatience    = time.Minute      // for what a key has started: the gateway may change firewall rules
	followPause    = time.Second      // until the stream of verdicts is asked for again
	noticePatience = 15 * time.Second // a notice is shown so long
)

// intervals are the times between two looks that can be chosen.
var intervals = []time.Duration{
	500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// Options say how the screen is.
type Options struct {
	Interval time.Duration
	Dress    Dress
	Host     string
	Now      func() time.Time
	// later sends a message when a time is over.
	later func(d time.Duration, m tea.Msg) tea.Cmd
}

// mode is what keys mean.
type mode uint8

const (
	browsing   mode = iota
	helping         // the list of keys is shown
	examining       // what is known of a row is shown
	filtering       // a filter is being written
	confirming      // an action waits for a yes
)

// action is what a person is about to do.
type action struct {
	question string
	do       func(ctx context.Context) (result string, err error)
}

// notice is said to the person for a while.
type notice struct {
	text  string
	style style
	at    time.Time
}

// model is the state of the screen.
type model struct {
	ctx     context.Context
	source  Source
	options Options

	record record
	shown  *Picture // what is on the screen
	asking bool     // an answer is due
	round  int      // of looks: a tick of another round is too late
	failed error    // why there is no answer
	since  time.Time

	width, height int
	interval      time.Duration
	paused        bool
	choices       []choice
	focus         int
	mode          mode
	input         string   // the filter that is being written
	action        action   // that waits for a yes
	details       []string // of the row that is examined
	scroll        int      // lines of the help, or of the details, above the screen
	notice        notice
}

// newModel returns a model that shows a first look.
func newModel(ctx context.Context, s Source, o Options, first *Look) *model {
	if o.later == nil {
		o.later = func(d time.Duration, m tea.Msg) tea.Cmd { return tea.Tick(d, func(time.Time) tea.Msg { return m }) }
	}
	m := &model{ctx: ctx, source: s, options: o, interval: o.Interval, choices: make([]choice, len(panes)), width: 80, height: 24}
	m.record.see(*first)
	m.shown = m.record.picture()
	return m
}

// The messages that commands send.
type (
	tickMsg struct{ round int }
	lookMsg struct {
		look Look
		err  error
	}
	batchMsg struct {
		batch Batch
		err   error
	}
	followMsg struct{}
	doneMsg   struct {
		result string
		err    error
	}
)

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return tea.Batch(m.wait(), m.follow()) }

// wait looks again when the interval is over.
func (m *model) wait() tea.Cmd {
	m.round++
	return m.options.later(m.interval, tickMsg{m.round})
}

// ask looks at the gateway.
func (m *model) ask() tea.Cmd {
	m.asking = true
	m.round++
	ctx, source := m.ctx, m.source
	return func() tea.Msg {
		ctx, cancel := context.WithTimeoutCause(ctx, lookPatience, fmt.Errorf("the gateway has not answered within %v", lookPatience))
		defer cancel()
		v, err := source.Look(ctx)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return lookMsg{v, err}
	}
}

// follow waits for verdicts.
func (m *model) follow() tea.Cmd {
	ctx, source := m.ctx, m.source
	return func() tea.Msg {
		b, err := source.Verdicts(ctx)
		return batchMsg{b, err}
	}
}

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch v := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = v.Width, v.Height
	case tea.KeyPressMsg:
		return m, m.press(v.String())
	case tea.PasteMsg:
		if m.mode == filtering {
			m.write(v.Content)
		}
	case tickMsg:
		if v.round == m.round && !m.asking {
			return m, m.ask()
		}
	case lookMsg:
		m.asking = false
		m.see(&v)
		return m, m.wait()
	case batchMsg:
		m.record.take(&v.batch)
		if v.err != nil {
			return m, m.lose(v.err)
		}
		return m, m.follow()
	case followMsg:
		return m, m.follow()
	case doneMsg:
		return m, m.done(&v)
	}
	return m, nil
}

// see takes an answer, or notes that there is none.
func (m *model) see(v *lookMsg) {
	if v.err != nil {
		if m.failed == nil {
			m.since = m.options.Now()
		}
		m.failed = v.err
		m.record.miss()
		return
	}
	before := m.record.look.Status.PID
	switch replaced := m.record.see(v.look); {
	case replaced:
		m.say(warning, fmt.Sprintf("process %d answers in place of process %d: an upgrade, or a restart", v.look.Status.PID, before))
	case m.failed != nil:
		m.say(good, "the gateway answers again")
	}
	m.failed = nil
	if !m.paused {
		m.shown = m.record.picture()
	}
}

// lose asks for the stream of verdicts again after a while. Why it has ended is only said if looks do not fail for the same reason, and
// if it is not the gateway's end, which they will tell.
func (m *model) lose(why error) tea.Cmd {
	if m.ctx.Err() != nil {
		return nil
	}
	if m.failed == nil && !errors.Is(why, console.ErrStreamEnded) && !errors.Is(why, console.ErrNone) {
		m.say(warning, "no verdicts: "+why.Error())
	}
	return m.options.later(followPause, followMsg{})
}

func (m *model) say(s style, text string) { m.notice = notice{text, s, m.options.Now()} }

// done says what came of an action, and looks at once.
func (m *model) done(v *doneMsg) tea.Cmd {
	if v.err != nil {
		m.say(bad, v.err.Error())
		return nil
	}
	m.say(good, v.result)
	if m.asking {
		return nil
	}
	return m.ask()
}

// rows returns the rows of the pane that keys act on, and the index of the chosen one.
func (m *model) rows() ([]row, *choice, int) {
	c := &m.choices[m.focus]
	rows, _ := panes[m.focus].rows(m.shown, c)
	return rows, c, c.find(rows)
}

// propose asks whether an action is to be done, if this user may do it.
func (m *model) propose(a action) {
	if m.record.look.Level != admin.Admin {
		m.say(warning, console.ErrDenied.Error()+": this socket has the level read-only; root and the group api.admin-group of the configuration may do that")
		return
	}
	m.action, m.mode = a, confirming
}

// act does what was confirmed.
func (m *model) act() tea.Cmd {
	ctx, do := m.ctx, m.action.do
	m.mode, m.action = browsing, action{}
	m.say(plain, "...")
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, actPatience)
		defer cancel()
		result, err := do(ctx)
		return doneMsg{result, err}
	}
}

// kill proposes to end connections of the chosen row.
func (m *model) kill() {
	rows, _, at := m.rows()
	if at < 0 || rows[at].kill == "" {
		m.say(warning, "choose a connection or a talker (panes 3 and 2): k ends connections")
		return
	}
	client, source := rows[at].kill, m.source
	m.propose(action{
		question: "End the connections of " + client + "? Those that wait for a server are told 421, others are reset.",
		do: func(ctx context.Context) (string, error) {
			n, err := source.Kill(ctx, client)
			if n == 1 {
				return "1 connection of " + client + " was ended", err
			}
			return fmt.Sprintf("%d connections of %s were ended", n, client), err
		},
	})
}

// setServer proposes to set the state of the chosen server.
func (m *model) setServer(state admin.ServerState) {
	rows, _, at := m.rows()
	if m.focus != paneServers || at < 0 {
		m.say(warning, "choose a server (pane 1): d drains it, r makes it ready, m is for maintenance")
		return
	}
	name, source := rows[at].key, m.source
	meaning := map[admin.ServerState]string{
		admin.ServerDrain: "Drain " + name + "? It gets no new connections; it is still checked.",
		admin.ServerReady: "Make " + name + " ready? It gets new connections while it is up.",
		admin.ServerMaint: "Put " + name + " into maintenance? It gets no new connections, and is not checked.",
	}
	m.propose(action{
		question: meaning[state],
		do: func(ctx context.Context) (string, error) {
			return name + ": " + string(state), source.SetServer(ctx, name, state)
		},
	})
}

// maxFilter is the longest filter, in characters.
const maxFilter = 64

// write adds to the filter.
func (m *model) write(text string) {
	for _, r := range text {
		if len([]rune(m.input)) < maxFilter && !strings.ContainsRune("\r\n\t", r) {
			m.input += string(r)
		}
	}
	m.choices[m.focus].filter = m.input
}
