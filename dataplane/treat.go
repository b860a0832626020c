package dataplane

import (
	"bytes"
	"slices"
	"time"
)

// treatment is how a client is treated: how long it has to wait, what it gets if it talks before that is over, and what it
// is told. It is decided once, when the handshake is complete, and stays as it is whatever configuration comes later.
type treatment struct {
	delay time.Duration
	talk  Action           // what early talk gets
	texts [numWords][]byte // our last words, which are the same at each call: segments are cut out of them
}

// treat decides how the clients of a frontend are treated.
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

// setTreatments takes the treatments of a new configuration, as the next generation if one of them is another. A flow names
// its generation, so that it goes on as was decided, and hears the end of what it is being told. A generation is used again
// after as many changes as there are generations: who is in the delay all that while is treated as the newest says. That
// nobody listens to us for so long is taken for granted; our words would be cut short.
func (s *Shard) setTreatments(cfg *Config) {
	list := treatmentsOf(cfg)
	same := func(a, b treatment) bool { return a.same(&b) }
	if !slices.EqualFunc(s.treatments[s.treated], list, same) {
		s.treated = (s.treated + 1) % generations
	}
	s.treatments[s.treated] = list
}

// decide has a flow treated as the present configuration says.
func (s *Shard) decide(f *flow) {
	f.words = f.words&^generationMask | s.treated<<generation
}

// treatment is what was decided for a flow. Its handshake is complete.
func (s *Shard) treatment(f *flow) *treatment {
	return &s.treatments[f.words&generationMask>>generation][f.service]
}
