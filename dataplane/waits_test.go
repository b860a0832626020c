package dataplane

import (
	"testing"
	"time"

	"hushgate/tcpstate"
)

// TestPatience: the idle timeout of a splice depends on which ends have closed.
func TestPatience(t *testing.T) {
	closed, open := &tcpstate.Half{FIN: true}, &tcpstate.Half{}
	for _, c := range []struct {
		name           string
		times          Times
		client, server *tcpstate.Half
		want           time.Duration
	}{
		{name: "neither, by default", client: open, server: open, want: 2*time.Hour + 4*time.Minute},
		{name: "neither", times: Times{Idle: time.Hour}, client: open, server: open, want: time.Hour},
		{name: "the client, by default", times: Times{Idle: time.Hour}, client: closed, server: open, want: time.Hour},
		{name: "the client", times: Times{ClientFIN: time.Second, ServerFIN: time.Minute}, client: closed, server: open, want: time.Minute},
		{name: "the server", times: Times{ClientFIN: time.Second, ServerFIN: time.Minute}, client: open, server: closed, want: time.Second},
		{name: "both, by default", client: closed, server: closed, want: 4 * time.Minute},
		{name: "both", times: Times{ClientFIN: time.Second, ServerFIN: time.Minute}, client: closed, server: closed, want: time.Minute},
	} {
		times := c.times.withDefaults()
		if got := times.patience(c.client, c.server); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
