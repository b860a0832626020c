package top

import (
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"hushgate/internal/admin"
)

// key is a key, or several that do the same.
type key struct {
	names []string
	shown string // in the help
	help  string
	do    func(m *model) tea.Cmd
}

// press does what a key is for in the present mode.
func (m *model) press(name string) tea.Cmd {
	if name == "ctrl+c" {
		return tea.Quit
	}
	switch m.mode {
	case helping, examining:
		switch name {
		case "down", "pgdown", "space":
			m.scroll++
		case "up", "pgup":
			m.scroll = max(0, m.scroll-1)
		default:
			m.mode = browsing
		}
	case filtering:
		m.edit(name)
	case confirming:
		if name == "y" || name == "Y" {
			return m.act()
		}
		m.mode = browsing
		m.say(plain, "nothing was done")
	case browsing:
		for i := range keys {
			if slices.Contains(keys[i].names, name) {
				return keys[i].do(m)
			}
		}
	}
	return nil
}

// edit changes the filter by a key.
func (m *model) edit(name string) {
	switch text := []rune(m.input); name {
	case "enter":
		m.mode = browsing
	case "esc":
		m.mode, m.input = browsing, ""
	case "backspace":
		m.input = string(text[:max(0, len(text)-1)])
	case "ctrl+u":
		m.input = ""
	case "space":
		m.write(" ")
	default:
		if len([]rune(name)) == 1 {
			m.write(name)
		}
	}
	m.choices[m.focus].filter = m.input
}

// keys are those of the mode in which one browses.
var keys = slices.Concat(moving, []key{
	{[]string{"s"}, "s", "sort in another way", sorting(1)},
	{[]string{"S"}, "S", "sort the other way round", func(m *model) tea.Cmd {
		c := &m.choices[m.focus]
		c.reverse = !c.reverse
		return nil
	}},
	{[]string{"f", "/"}, "f /", "filter: a word, or a network such as 198.18.0.0/15", func(m *model) tea.Cmd {
		m.mode, m.input = filtering, m.choices[m.focus].filter
		return nil
	}},
	{[]string{"n"}, "n", "talkers by network, or by client", func(m *model) tea.Cmd {
		c := &m.choices[paneTalkers]
		c.network = !c.network
		return nil
	}},
	{[]string{"enter"}, "enter", "what is known of the chosen row", examine},
	{[]string{"p", "space"}, "p space", "pause, and go on", func(m *model) tea.Cmd {
		if m.paused = !m.paused; !m.paused {
			m.shown = m.record.picture()
		}
		return nil
	}},
	{[]string{"+", "="}, "+ -", "look less often, more often", pacing(1)},
	{[]string{"-", "_"}, "", "", pacing(-1)},
	{[]string{"d"}, "d", "drain the chosen server *", server(admin.ServerDrain)},
	{[]string{"r"}, "r", "make it ready *", server(admin.ServerReady)},
	{[]string{"m"}, "m", "put it into maintenance *", server(admin.ServerMaint)},
	{[]string{"k"}, "k", "end the chosen connection, or talker's connections *", func(m *model) tea.Cmd {
		m.kill()
		return nil
	}},
	{[]string{"ctrl+l"}, "ctrl+l", "draw the screen again", func(*model) tea.Cmd { return tea.ClearScreen }},
	{[]string{"ctrl+z"}, "ctrl+z", "back to the shell; fg returns", func(*model) tea.Cmd { return tea.Suspend }},
	{[]string{"?", "h", "f1"}, "?", "these keys", func(m *model) tea.Cmd {
		m.mode, m.scroll = helping, 0
		return nil
	}},
	{[]string{"q"}, "q", "quit", func(*model) tea.Cmd { return tea.Quit }},
})

// moving are the keys that go from one thing to another.
var moving = []key{
	{[]string{"tab", "right"}, "tab arrows 1-6", "another pane", turning(1)},
	{[]string{"shift+tab", "left"}, "", "", turning(-1)},
	{[]string{"1"}, "", "", to(0)},
	{[]string{"2"}, "", "", to(1)},
	{[]string{"3"}, "", "", to(2)},
	{[]string{"4"}, "", "", to(3)},
	{[]string{"5"}, "", "", to(4)},
	{[]string{"6"}, "", "", to(5)},
	{[]string{"down"}, "up down", "another row; it stays chosen while the table changes", going(1)},
	{[]string{"up"}, "", "", going(-1)},
	{[]string{"pgdown"}, "", "", going(10)},
	{[]string{"pgup"}, "", "", going(-10)},
	{[]string{"end"}, "", "", going(1 << 20)},
	{[]string{"home"}, "home", "the first row, whichever it is", func(m *model) tea.Cmd {
		c := &m.choices[m.focus]
		c.key, c.index = "", 0
		return nil
	}},
	{[]string{"esc"}, "esc", "no filter", func(m *model) tea.Cmd {
		m.choices[m.focus].filter = ""
		return nil
	}},
}

func to(pane int) func(*model) tea.Cmd {
	return func(m *model) tea.Cmd {
		m.focus = pane
		return nil
	}
}

func turning(by int) func(*model) tea.Cmd {
	return func(m *model) tea.Cmd {
		m.focus = (m.focus + by + len(panes)) % len(panes)
		return nil
	}
}

func going(by int) func(*model) tea.Cmd {
	return func(m *model) tea.Cmd {
		rows, c, _ := m.rows()
		c.move(rows, by)
		return nil
	}
}

func sorting(by int) func(*model) tea.Cmd {
	return func(m *model) tea.Cmd {
		c := &m.choices[m.focus]
		c.order = (c.order + by) % len(panes[m.focus].orderNames())
		return nil
	}
}

func server(state admin.ServerState) func(*model) tea.Cmd {
	return func(m *model) tea.Cmd {
		m.setServer(state)
		return nil
	}
}

// pacing chooses the next longer or shorter interval.
func pacing(by int) func(*model) tea.Cmd {
	return func(m *model) tea.Cmd {
		m.interval = paced(m.interval, by)
		if m.asking {
			return nil
		}
		return m.wait()
	}
}

func paced(d time.Duration, by int) time.Duration {
	if by > 0 {
		for _, v := range intervals {
			if v > d {
				return v
			}
		}
		return d
	}
	for _, v := range slices.Backward(intervals) {
		if v < d {
			return v
		}
	}
	return d
}

func examine(m *model) tea.Cmd {
	if rows, _, at := m.rows(); at >= 0 {
		m.details, m.mode, m.scroll = rows[at].about(), examining, 0
	}
	return nil
}
