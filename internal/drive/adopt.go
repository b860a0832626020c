package drive

import (
	"context"
	"fmt"
	"time"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// Shards are the loops of all shards in their order, and how clients are spread over them.
type Shards struct {
	Loops  []*Loop
	Spread port.Spread
}

// of is the loop whose shard gets what a client sends.
func (s *Shards) of(client wire.Addr) *Loop {
	return s.Loops[s.Spread.Shard(client, len(s.Loops))]
}

// Adopt has the shard that hears the client of a connection take it, beside those that it has. The connection was saved so
// long ago, by another machine (dataplane.AnotherMachine) or by this one; 0 if that is not known. The error says why there is
// no answer: the connection may have been taken all the same if ctx has ended, and was not with ErrGiven.
func (s *Shards) Adopt(ctx context.Context, v *dataplane.FlowState, ago time.Duration) (dataplane.Adoption, error) {
	l := s.of(v.Client)
	type answer struct {
		adoption dataplane.Adoption
		err      error
	}
	own, now := *v, l.clock.Now() // the durations count from here, however long the message is on its way
	a, ok := Ask(ctx, l, func(shard *dataplane.Shard) (a answer) {
		if l.Given {
			return answer{err: ErrGiven}
		}
		shard.Apply(dataplane.Adopt{Flow: &own, Now: now, Ago: ago, Answer: func(got dataplane.Adoption) { a.adoption = got }})
		return a
	})
	if !ok {
		return dataplane.Adoption{}, fmt.Errorf("adopt the connection of %v: %w", v.Client, context.Cause(ctx))
	}
	return a.adoption, a.err
}

// SaveFlow writes the connection of a client down for a reader; nil if there is none, or if another process has it.
func (s *Shards) SaveFlow(ctx context.Context, of tcpstate.Tuple, reader dataplane.Reader) (*dataplane.FlowState, error) {
	l := s.of(of.Client)
	v, ok := Ask(ctx, l, func(shard *dataplane.Shard) *dataplane.FlowState {
		v := new(dataplane.FlowState)
		if l.Given || !shard.SaveFlow(l.clock.Now(), &of, reader, v) {
			return nil
		}
		return v
	})
	if !ok {
		return nil, fmt.Errorf("save the connection of %v: %w", of.Client, context.Cause(ctx))
	}
	return v, nil
}
