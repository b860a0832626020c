package top

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

// View implements tea.Model.
func (m *model) View() tea.View {
	v := tea.NewView(m.text())
	v.AltScreen = true
	return v
}

// text draws the screen: exactly as many lines as it has.
func (m *model) text() string {
	lines := m.lines()
	for len(lines) < m.height {
		lines = append(lines, line{})
	}
	var out []string
	for _, l := range lines[:max(0, m.height)] {
		out = append(out, m.options.Dress.render(l, m.width))
	}
	return strings.Join(out, "\n")
}

func (m *model) screen() *screen {
	s := &screen{Picture: m.shown, dress: m.options.Dress, width: m.width, host: m.options.Host, interval: m.interval, paused: m.paused}
	if m.failed != nil {
		s.alert = fmt.Sprintf("No answer for %s: %v. Asking again.", console.Span(m.options.Now().Sub(m.since).Round(time.Second).Milliseconds()), m.failed)
	}
	return s
}

// lines draws the overview, what lies below it, and the last lines, which are always seen.
func (m *model) lines() []line {
	if m.width < 20 || m.height < 4 {
		return []line{{{"hushgate top: the terminal is too small", plain}}}
	}
	s, foot := m.screen(), m.foot()
	lines := s.overview(m.height < tallHeader)
	room := m.height - len(foot) - len(lines)
	switch {
	case m.mode == helping:
		lines = append(lines[:1], scrolled(m.help(), m.scroll, m.height-len(foot)-1)...)
	case m.mode == examining:
		lines = append(lines[:1], scrolled(m.examined(), m.scroll, m.height-len(foot)-1)...)
	case room > 0:
		lines = append(lines, s.body(m.choices, m.focus, room)...)
	}
	lines = lines[:min(len(lines), m.height-len(foot))]
	for len(lines) < m.height-len(foot) {
		lines = append(lines, line{})
	}
	return append(lines, foot...)
}

// scrolled leaves out lines at the top, but no more than have no room.
func scrolled(lines []line, by, height int) []line {
	return lines[min(by, max(0, len(lines)-height)):]
}

// wrapped is text in as many lines as it takes, but no more than half the screen.
func (m *model) wrapped(text string, look style) (lines []line) {
	for part := range strings.SplitSeq(ansi.Wrap(m.options.Dress.clean(text), m.width, " "), "\n") {
		lines = append(lines, line{{part, look}})
	}
	return lines[:min(len(lines), max(1, m.height/2))]
}

// foot is where one is asked, told, or reminded of the keys.
func (m *model) foot() []line {
	switch {
	case m.mode == filtering:
		return []line{{{"filter: ", bold}, {m.input, plain}, {" ", marked}, {"  enter keeps it, esc removes it", faint}}}
	case m.mode == confirming:
		return m.wrapped("y/n? "+m.action.question, warning)
	case m.mode == helping, m.mode == examining:
		return []line{{{"up and down scroll, any other key goes back", faint}}}
	case m.notice.text != "" && m.options.Now().Sub(m.notice.at) < noticePatience:
		return m.wrapped(m.notice.text, m.notice.style)
	}
	hints := "q quit  ? keys  tab pane  s sort  f filter  p pause  + - interval"
	if m.record.look.Level == admin.Admin && m.focus == paneServers {
		hints = "q quit  ? keys  tab pane  s sort  f filter  d drain  r ready  m maint  p pause"
	} else if m.record.look.Level == admin.Admin && (m.focus == paneConnections || m.focus == paneTalkers) {
		hints = "q quit  ? keys  tab pane  s sort  f filter  k kill  n network  p pause"
	}
	return []line{{{hints, faint}}}
}

// examined is what is known of a row.
func (m *model) examined() (lines []line) {
	for _, text := range m.details {
		lines = append(lines, m.wrapped(text, plain)...)
	}
	return lines
}

// help lists the keys, in as many columns as there is room for.
func (m *model) help() (lines []line) {
	for i := range keys {
		if k := &keys[i]; k.shown != "" {
			lines = append(lines, line{{" " + pad(k.shown, 15, false), bold}, {k.help, plain}})
		}
	}
	note := " * asks before it does anything"
	if m.record.look.Level != admin.Admin {
		note = " * not for this user: the socket has the level read-only"
	}
	return append(lines, line{{note, faint}})
}
