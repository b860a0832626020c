package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Offenders says when a client that talks early again and again is an offender, and what offenders get. The zero value means that
// nobody is one.
type Offenders struct {
	After  int           // so many early talks
	Within time.Duration // in such a time make a client an offender
	For    time.Duration // for so long since the last
	Action OffenderAction
	Delay  time.Duration // with OffenderDelay
}

// OffenderAction is what offenders get.
type OffenderAction string

// The values of OffenderAction.
const (
	OffenderNone   OffenderAction = ""            // nobody is an offender
	OffenderDelay  OffenderAction = "delay"       // Offenders.Delay, if it is longer than their delay
	OffenderTarpit OffenderAction = "tarpit"      // a connection with a closed window
	OffenderReset  OffenderAction = "reset"       // RST
	OffenderSilent OffenderAction = "silent-drop" // nothing, once the handshake is complete
	OffenderDrop   OffenderAction = "drop"        // nothing: the kernel drops their SYNs
)

// wantOffenderAction lists the values of offenders.action.
const wantOffenderAction = "delay and a time, tarpit, reset, silent-drop or drop"

// maxOffences is how many early talks of a client can be asked for: the memory of clients has no more.
const maxOffences = 8

// offendersTable makes offendersSettings. Their defaults apply as soon as there is an action.
func offendersTable() []setting[rawGlobal] {
	return []setting[rawGlobal]{
		{
			key: "offenders.after", about: "how many early talks make a client an offender",
			kind: number(func(g *rawGlobal) *int { return &g.Offenders.After }, 3, 1, maxOffences),
		},
		{
			key: "offenders.within", about: "the time in which they count",
			kind: periodFrom(time.Second, false, func(g *rawGlobal) *time.Duration { return &g.Offenders.Within }, time.Hour),
		},
		{
			key: "offenders.for", about: "how long it is one since its last early talk",
			kind: periodFrom(time.Second, false, func(g *rawGlobal) *time.Duration { return &g.Offenders.For }, 24*time.Hour),
		},
		{
			key: "offenders.action", about: "what offenders get", otherwise: "required",
			kind: ofNode(func(r *yamlReader, g *rawGlobal, key string, node ast.Node) {
				var o Offenders
				s := r.checked(key, wantOffenderAction, node, func(s string) error { return o.setAction(s) })
				if s.set() {
					g.Offenders.Action, g.Offenders.Delay, g.lines["offenders.action"] = o.Action, o.Delay, s.line
				}
			}),
		},
	}
}

// setAction reads "tarpit" or "delay 60s".
func (o *Offenders) setAction(s string) error {
	word, rest, more := strings.Cut(s, " ")
	switch a := OffenderAction(word); a {
	case OffenderDelay:
		if !more {
			return errors.New("delay needs a time, such as delay 60s")
		}
		d, err := parseTime(strings.TrimSpace(rest), 0)
		if err != nil {
			return fmt.Errorf("delay: %w", err)
		}
		o.Action, o.Delay = a, d
		return nil
	case OffenderTarpit, OffenderReset, OffenderSilent, OffenderDrop:
		if more {
			return fmt.Errorf("no word may follow %s", word)
		}
		o.Action = a
		return nil
	case OffenderNone:
	}
	return errors.New("it is none of these")
}

// offenders reads {after, within, for, action} with the handlers of its keys, and checks them together.
func (r *yamlReader) offenders(read func(string, ast.Node)) func(string, ast.Node) {
	return func(key string, node ast.Node) {
		g, before := &r.raw.global, len(r.errs)
		fill(offendersSettings, g)
		read(key, node)
		if g.Offenders.Action == OffenderNone && len(r.errs) == before {
			r.wrong(lineOf(node), key, "needs action: %s", wantOffenderAction)
		}
	}
}

// checkOffenders looks at what offenders get together with the rest of the file.
func (r *resolver) checkOffenders() {
	g, line := &r.cfg.Global, r.raw.global.lines["offenders.action"]
	switch o := &g.Offenders; {
	case o.Action == OffenderNone:
	case o.Action == OffenderDrop && !g.Firewall.Manage:
		r.wrong(line, "action", "drop makes a table in nftables, which firewall.manage: false forbids; silent-drop needs none")
	default:
		r.noteOffenders(line, o)
	}
}

// noteOffenders tells of settings without an effect.
func (r *resolver) noteOffenders(line int, o *Offenders) {
	screens, least := false, maxTime
	for i := range r.cfg.Frontends {
		f := &r.cfg.Frontends[i]
		screens = screens || f.Action != ActionObserve
		shortest, _ := r.delays(f)
		least = min(least, shortest)
	}
	switch {
	case len(r.cfg.Frontends) == 0:
	case !screens:
		r.note(line, "offenders has no effect: with on-early-talk: observe nobody becomes one")
	case o.Action == OffenderDelay && o.Delay <= least:
		r.note(line, "offenders has no effect: delay %s is not longer than what each client waits, %s or more", formatTime(o.Delay), formatTime(least))
	}
}
