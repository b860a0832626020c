package dataplane

import (
	"bytes"
	"slices"
	"time"
)

// treatment is how a client is treated: the length of its delay, the answer to early talk, and the texts that we may send. It
// is decided once, when the handshake is complete. Later configurations do not change it.
type treatment struct {
	delay time.Duration
	talk  Action           // the answer to early talk
	texts [numWords][]byte // our replies; they must stay the same at each call, because segments are cut out of them
}

// treat returns how the clients of a frontend are treated.
func treat(f *Frontend) treatment {
	return treatment{
		delay: f.Delay,
		talk:  f.Action,
		texts: [numWords][]byte{wordsReject: []byte(f.RejectText), wordsNoServer: []byte(f.NoServerText)},
	}
}

func (t *treatment) same(u *treatment) bool {
	return t.delay == u.delay && t.talk == u.talk && slices.EqualFunc(t.texts[:], u.texts[:], bytes.Equal)
}

// treatmentsOf lists the treatment of each service's clients.
func treatmentsOf(cfg *Config) (list []treatment) {
	fronts := make([]treatment, len(cfg.Frontends))
	for i := range cfg.Frontends {
		fronts[i] = treat(&cfg.Frontends[i])
	}
	for _, v := range cfg.Services {
		list = append(list, fronts[v.Frontend])
	}
	return list
}

// setTreatments installs the treatments of a new configuration. If any of them changed, they become the next generation. A
// flow stores its generation, so that its treatment stays as decided and a reply is sent to its end. After 16 changes a
// generation is used again: a client that has been held all that time gets the newest treatment, and a reply still unsent is
// truncated.
func (s *Shard) setTreatments(cfg *Config) {
	list := treatmentsOf(cfg)
	same := func(a, b treatment) bool { return a.same(&b) }
	if !slices.EqualFunc(s.treatments[s.treated], list, same) {
		s.treated = (s.treated + 1) % generations
	}
	s.treatments[s.treated] = list
}

// decide stores the current generation of treatments in a flow.
func (s *Shard) decide(f *flow) {
	f.words = f.words&^generationMask | s.treated<<generation
}

// treatment returns what was decided for a flow, whose handshake must be complete.
func (s *Shard) treatment(f *flow) *treatment {
	return &s.treatments[f.words&generationMask>>generation][f.service]
}
