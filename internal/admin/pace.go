package admin

import (
	"context"
	"sync"
	"time"
)

// pace bounds the requests in a time: a bucket of tokens. Each request takes one; perSecond new ones come each second, until
// there are burst.
type pace struct {
	perSecond, burst float64
	now              func() time.Time

	mu     sync.Mutex
	tokens float64
	at     time.Time // of tokens
}

// newPace returns a pace with a full bucket.
func newPace(perSecond, burst float64) *pace {
	return &pace{perSecond: perSecond, burst: burst, now: time.Now}
}

// wait takes a token as soon as there is one; false if ctx ends before. Those who wait need an order of their own.
func (p *pace) wait(ctx context.Context) bool {
	for !p.allow() {
		select {
		case <-time.After(time.Duration(float64(time.Second) / p.perSecond)):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// allow takes a token, if there is one.
func (p *pace) allow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if p.at.IsZero() {
		p.tokens, p.at = p.burst, now
	}
	p.tokens = min(p.burst, p.tokens+max(0, now.Sub(p.at).Seconds())*p.perSecond)
	p.at = now
	if p.tokens < 1 {
		return false
	}
	p.tokens--
	return true
}
