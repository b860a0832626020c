package dataplane

import (
	"testing"
	"time"

	"hushgate/tcpstate"
)

// TestPatience: how long a splice may be silent depends on who has closed.
func TestPatience(t *testing.T) {
	closed, open := &tcpstate.Half{FIN: true}, &tcpstate.Half{}
	for _, c := range []struct {
		name           string
		times          Times
		client, server *tcpstate.Half
		want           time.Duration
	}{
		{"nobody, by default", Times{}, open, open, 2*time.Hour + 4*time.Minute},
		{"nobody", Times{Idle: time.Hour}, open, open, time.Hour},
		{"the client, by default", Times{Idle: time.Hour}, closed, open, time.Hour},
		{"the client", Times{ClientFIN: time.Second, ServerFIN: time.Minute}, closed, open, time.Minute},
		{"the server", Times{ClientFIN: time.Second, ServerFIN: time.Minute}, open, closed, time.Second},
		{"both, by default", Times{}, closed, closed, 4 * time.Minute},
		{"both", Times{ClientFIN: time.Second, ServerFIN: time.Minute}, closed, closed, time.Minute},
	} {
		times := c.times.withDefaults()
		if got := times.patience(c.client, c.server); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
