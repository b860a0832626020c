package dataplane

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hushgate/internal/policy"
	"hushgate/internal/proxyproto"
	"hushgate/internal/segscript"
)

// The words of scripts. Words for values of the code come from its String methods.
var (
	verdictWords = segscript.Names[Verdict]("verdict")
	causeWords   = segscript.Names[Cause]("cause")
	answerWords  = segscript.Names[AnswerOutcome]("answer")
	endsWords    = segscript.Names[Ends]("closed-by")

	actionWords  = segscript.Words("action", map[string]Action{"reset": ActionReset, "reply": ActionReply, "observe": ActionObserve, "silent-drop": ActionSilentDrop, "tarpit": ActionTarpit})
	proxyWords   = segscript.Words("send-proxy", map[string]proxyproto.Version{"v1": proxyproto.V1, "v2": proxyproto.V2})
	liveWords    = segscript.Words("live", map[string]bool{"on": true, "off": false})
	serviceWords = segscript.Words("service", map[string]bool{"open": false, "closed": true})
	upWords      = segscript.Words("up", map[string]bool{"yes": true, "no": false})
	stateWords   = segscript.Words("server state", map[string]bool{"up": true, "down": false})
	killWords    = segscript.Words("kill", map[string]bool{"reply": true, "reset": false})
	hasteWords   = segscript.Words("shutdown", map[string]bool{"now": true})
)

// settings are the words of `config` and of `= reload`. Each is followed by a value.
var settings = segscript.Words("setting", map[string]func(p *player, value string) error{
	"delay":      frontend(segscript.Duration, func(f *Frontend) *time.Duration { return &f.Delay }),
	"action":     frontend(actionWords.Read, func(f *Frontend) *Action { return &f.Action }),
	"live":       frontend(liveWords.Read, func(f *Frontend) *bool { return &f.Live }),
	"idle":       frontend(segscript.Duration, func(f *Frontend) *time.Duration { return &f.Times.Idle }),
	"client-fin": frontend(segscript.Duration, func(f *Frontend) *time.Duration { return &f.Times.ClientFIN }),
	"server-fin": frontend(segscript.Duration, func(f *Frontend) *time.Duration { return &f.Times.ServerFIN }),
	"half-open":  frontend(segscript.Duration, func(f *Frontend) *time.Duration { return &f.Times.HalfOpen }),
	"time-wait":  frontend(segscript.Duration, func(f *Frontend) *time.Duration { return &f.Times.TimeWait }),
	"tarpit":     frontend(segscript.Duration, func(f *Frontend) *time.Duration { return &f.Times.Tarpit }),
	"queue":      backend(segscript.Duration, func(b *Backend) *time.Duration { return &b.Queue }),
	"connect":    backend(segscript.Duration, func(b *Backend) *time.Duration { return &b.Connect }),
	"reject-text": func(p *player, value string) error {
		p.cfg.Frontends[0].RejectText = value + "\r\n"
		return nil
	},
	"teaser": func(p *player, value string) error {
		p.cfg.Frontends[0].Teaser = value + "\r\n"
		return nil
	},
	"offenders":  (*player).setOffenders,
	"retries":    (*player).setRetries,
	"servers":    (*player).setServers,
	"members":    (*player).setMembers,
	"service":    (*player).setService,
	"up":         (*player).setUp,
	"send-proxy": (*player).setProxy,
	"source":     (*player).setSource,
	"dnslists":   (*player).setLists,
})

// frontend makes a setter for a field of the frontend.
func frontend[T any](read func(string) (T, error), place func(*Frontend) *T) func(*player, string) error {
	return func(p *player, value string) (err error) {
		*place(&p.cfg.Frontends[0]), err = read(value)
		return err
	}
}

// backend makes a setter for a field of the backend.
func backend[T any](read func(string) (T, error), place func(*Backend) *T) func(*player, string) error {
	return func(p *player, value string) (err error) {
		*place(&p.cfg.Backends[0]), err = read(value)
		return err
	}
}

// offenderWords are what offenders get. Who has talked early twice within a minute is one for five minutes.
var offenderWords = segscript.Words("what offenders get", map[string]policy.Outcome{
	"tarpit": {Kind: policy.OutcomeTarpit}, "silent-drop": {Kind: policy.OutcomeSilentDrop}, "reset": {Kind: policy.OutcomeReject},
	"two-minutes": {Kind: policy.OutcomeDelay, Delay: 2 * time.Minute}, "a-second": {Kind: policy.OutcomeDelay, Delay: time.Second},
})

// setOffenders has a policy treat offenders. It comes after the frontend's other settings.
func (p *player) setOffenders(value string) error {
	o, err := offenderWords.Read(value)
	if err != nil {
		return err
	}
	f := &p.cfg.Frontends[0]
	p.cfg.Policy, err = policy.NewTable(&policy.Config{
		Frontends: []policy.Frontend{{
			Delay: f.Delay, Talk: f.Action.talk(), Reject: policy.Text(f.RejectText), NoServer: policy.Text(f.NoServerText), Offender: o,
		}},
		Offences: policy.Offences{After: 2, Within: time.Minute, For: 5 * time.Minute},
	})
	f.Policy = 1
	return err
}

func (p *player) setRetries(value string) error {
	n, err := segscript.Count(value)
	p.cfg.Backends[0].Retries = int(n)
	return err
}

// setServers sets the number of servers.
func (p *player) setServers(value string) error {
	n, err := segscript.Count(value)
	if most := len(p.cfg.Servers); err == nil && (n == 0 || n > uint64(most)) {
		err = fmt.Errorf("servers %d: expected 1 to %d", n, most)
	}
	if err != nil {
		return err
	}
	p.cfg.Servers, p.cfg.Backends[0].Servers = p.cfg.Servers[:n], p.cfg.Backends[0].Servers[:n]
	return nil
}

// setMembers sets which servers belong to the backend.
func (p *player) setMembers(value string) error {
	be := &p.cfg.Backends[0]
	be.Servers = nil
	for word := range strings.SplitSeq(value, ",") {
		id, err := p.serverNamed(word)
		if err != nil {
			return err
		}
		be.Servers = append(be.Servers, id)
	}
	return nil
}

func (p *player) setService(value string) (err error) {
	p.cfg.Services[0].Closed, err = serviceWords.Read(value)
	return err
}

func (p *player) setUp(value string) error {
	up, err := upWords.Read(value)
	for i := range p.cfg.Servers {
		p.cfg.Servers[i].Up = up
	}
	return err
}

func (p *player) serverNamed(word string) (ServerID, error) {
	n, err := segscript.Server(word)
	if err == nil && n > len(p.cfg.Servers) {
		err = fmt.Errorf("server %q: there are %d servers", word, len(p.cfg.Servers))
	}
	return ServerID(n - 1), err
}

func (p *player) configure(words []string) error {
	return segscript.Pairs(words, func(word, value string) error {
		set, err := settings.Read(word)
		if err != nil {
			return err
		}
		return set(p, value)
	})
}

// orders are the words of `=` lines: control messages to the shard, expected states and expected events.
var orders = segscript.Words("word", orderTable())

func orderTable() map[string]func(*player, []string) error {
	table := map[string]func(*player, []string) error{
		"server":    (*player).serverState,
		"reload":    (*player).reload,
		"shutdown":  (*player).shutdown,
		"hand":      (*player).byHand,
		"kill":      (*player).kill,
		"remaining": count("remain", func(s *Shard) int { return s.Remaining() }),
		"flows":     count("flows", func(s *Shard) int { return s.Flows() }),
		"nothing":   (*player).noEvent,
		"answer":    (*player).answer,
		"answers":   (*player).answers,
	}
	for word, kind := range eventWords {
		table[word] = func(p *player, w []string) error { return p.expectEvent(kind, w) }
	}
	return table
}

// eventWords are the events that a script can expect.
var eventWords = map[string]EventKind{
	"closed": EventClosed, "failed": EventServerFailed, "broken": EventOfferBroken, "observed": EventObserved,
	"opened": EventOpened, "passed": EventPassed, "offender": EventOffender, "asked": EventAsk, "listed": EventListed,
}

// control handles `=` steps.
func (p *player) control(words []string) error {
	do, err := orders.Read(words[0])
	if err != nil {
		return err
	}
	return do(p, words[1:])
}

// serverState marks a server as up or down: `server s1 down`.
func (p *player) serverState(words []string) error {
	return segscript.Pairs(words, func(server, state string) error {
		id, err := p.serverNamed(server)
		if err != nil {
			return err
		}
		up, err := stateWords.Read(state)
		if err != nil {
			return err
		}
		p.shard.Apply(ServerState{Server: p.layout.server(id), Up: up})
		return nil
	})
}

// byHand takes a server out or puts it back, or sets its weight: `hand s1 out`, `hand s1 3`, `hand s1 configured`.
func (p *player) byHand(words []string) error {
	return segscript.Pairs(words, func(server, what string) error {
		id, err := p.serverNamed(server)
		if err != nil {
			return err
		}
		c := ServerByHand{Server: p.layout.server(id), Weight: -1, Out: what == "out"}
		if what != "out" && what != "configured" {
			n, err := segscript.Count(what)
			if err != nil {
				return fmt.Errorf("%q: expected out, configured or a weight", what)
			}
			c.Weight = int(n)
		}
		p.shard.Apply(c)
		return nil
	})
}

// kill ends all connections: with `reply` those that wait get a 421, with `reset` an RST.
func (p *player) kill(words []string) error {
	reply, err := killWords.Read(strings.Join(words, " "))
	if err != nil {
		return err
	}
	p.forgetOthers()
	p.shard.Apply(EndFlows{Places: 1 << 20, Most: 1 << 20, Reply: reply, Now: p.now, Answer: func(int, uint32) {}})
	p.shard.Advance(p.now)
	p.collect()
	return nil
}

// reload changes settings as `config` does. Services and servers must keep their indices.
func (p *player) reload(words []string) error {
	cfg := *p.cfg
	cfg.Frontends, cfg.Backends = slices.Clone(cfg.Frontends), slices.Clone(cfg.Backends)
	cfg.Services, cfg.Servers = slices.Clone(cfg.Services), slices.Clone(cfg.Servers)
	p.cfg = &cfg
	if err := p.configure(words); err != nil {
		return err
	}
	p.shard.Apply(Reload{p.layout.of(&cfg)})
	return nil
}

// shutdown begins a shutdown. Spliced connections may finish, but with `now` everything ends.
func (p *player) shutdown(words []string) error {
	now := false
	for _, w := range words {
		var err error
		if now, err = hasteWords.Read(w); err != nil {
			return err
		}
	}
	p.forgetOthers()
	p.shard.Apply(Shutdown{Now: now})
	p.shard.Advance(p.now)
	p.collect()
	return nil
}

// count makes an order that expects a number.
func count(what string, get func(*Shard) int) func(*player, []string) error {
	return func(p *player, words []string) error {
		n, err := segscript.Count(strings.Join(words, " "))
		if got := get(p.shard) - p.others; err == nil && uint64(got) != n {
			err = fmt.Errorf("%d %s, expected %d", got, what, n)
		}
		return err
	}
}

func (p *player) noEvent(words []string) error {
	switch {
	case len(words) > 0:
		return fmt.Errorf("%q: expected no word after nothing", words[0])
	case len(p.events) > 0:
		return fmt.Errorf("event %s", eventText(&p.events[0]))
	}
	return nil
}

// figures are the words that may follow an event's verdict or server, each with a value.
var figures = segscript.Words("figure", map[string]func(p *player, e *Event, value string) error{
	"cause":     wordFigure(causeWords, func(e *Event) Cause { return e.Cause }),
	"closed-by": wordFigure(endsWords, func(e *Event) Ends { return e.ClosedBy }),
	"to-client": figure(segscript.Count, func(_ *player, e *Event) uint64 { return e.BytesToClient }),
	"to-server": figure(segscript.Count, func(_ *player, e *Event) uint64 { return e.BytesToServer }),
	"talk":      figure(segscript.Count, func(_ *player, e *Event) uint64 { return uint64(e.TalkLen) }),
	"rank":      figure(segscript.Count, func(_ *player, e *Event) uint64 { return uint64(e.Listing.Rank) }),
	"by":        figure(func(value string) (string, error) { return value, nil }, (*player).listNames),
	"retries":   figure(segscript.Count, func(_ *player, e *Event) uint64 { return uint64(e.Retries) }),
	"for":       figure(segscript.Duration, func(_ *player, e *Event) time.Duration { return e.Until.Sub(e.Closed) }),
	"first-byte": figure(segscript.Duration, func(_ *player, e *Event) time.Duration {
		return e.FirstByte.Sub(opening).Truncate(time.Millisecond)
	}),
})

// wordFigure makes a figure whose value is a word.
func wordFigure[T comparable](words *segscript.Vocabulary[T], get func(*Event) T) func(*player, *Event, string) error {
	return figure(words.Read, func(_ *player, e *Event) T { return get(e) })
}

// figure makes a figure whose value is parsed and compared with the event's.
func figure[T comparable](read func(string) (T, error), get func(*player, *Event) T) func(*player, *Event, string) error {
	return func(p *player, e *Event, value string) error {
		want, err := read(value)
		if got := get(p, e); err == nil && got != want {
			err = fmt.Errorf("found %v, expected %v", got, want)
		}
		return err
	}
}

// expectEvent compares the next event: `closed VERDICT FIGURE VALUE ...`, or of a server `failed SERVER FIGURE VALUE ...`.
func (p *player) expectEvent(kind EventKind, words []string) error {
	if len(p.events) == 0 {
		return fmt.Errorf("no event was emitted")
	}
	e := p.events[0]
	p.events = p.events[1:]
	if e.Kind == EventAsk {
		p.asked = append(p.asked, e)
	}
	if e.Kind != kind || len(words) == 0 {
		return fmt.Errorf("event %s", eventText(&e))
	}
	if err := p.expectSubject(&e, words[0]); err != nil {
		return err
	}
	return segscript.Pairs(words[1:], func(word, value string) error {
		compare, err := figures.Read(word)
		if err != nil {
			return err
		}
		if err := compare(p, &e, value); err != nil {
			return fmt.Errorf("%s of event %s: %w", word, eventText(&e), err)
		}
		return nil
	})
}

// expectSubject compares the server of an event, or its verdict.
func (p *player) expectSubject(e *Event, word string) error {
	if e.Kind == EventServerFailed || e.Kind == EventOfferBroken {
		want, err := p.serverNamed(word)
		if err == nil && e.Server != want {
			err = fmt.Errorf("event %s is about s%d, expected %s", eventText(e), e.Server+1, word)
		}
		return err
	}
	want, err := verdictWords.Read(word)
	if err == nil && e.Verdict != want {
		err = fmt.Errorf("event %s, expected the verdict %s", eventText(e), word)
	}
	return err
}

// eventText describes an event in the words of scripts, followed by all of its fields.
func eventText(e *Event) string {
	word := "of another kind"
	for w, kind := range eventWords {
		if kind == e.Kind {
			word = w
		}
	}
	return fmt.Sprintf("%s %v cause %v closed-by %v: %+v", word, e.Verdict, e.Cause, e.ClosedBy, *e)
}
