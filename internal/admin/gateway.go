package admin

import (
	"context"
	"net/netip"
	"time"
)

// Gateway is what the API shows and steers. Its methods may be called at any time, by many goroutines at once, and return soon
// after ctx is done. An error that is a *Problem is the answer that the client gets; any other error is one of the gateway's
// own, and the client gets its text with status 500.
type Gateway interface {
	Viewer
	Operator
}

// Viewer is what clients of either level may ask for.
type Viewer interface {
	Status(ctx context.Context) (Status, error)
	Frontends(ctx context.Context) ([]Frontend, error)
	Servers(ctx context.Context) ([]Server, error)
	Counters(ctx context.Context) ([]Counter, error)
	Connections(ctx context.Context, q ConnectionQuery) (ConnectionPage, error)
	// Phases lists the names of a connection's phases.
	Phases() []string
	Passes(ctx context.Context, q ClientQuery) (PassPage, error)
	Offenders(ctx context.Context, q ClientQuery) (OffenderPage, error)
	Clients(ctx context.Context, q ClientQuery) (ClientPage, error)
	// Explain tells what is known of the clients of a network: of one address much, of others what was kept.
	Explain(ctx context.Context, client netip.Prefix, limit int) (Explanation, error)
	// History returns the samples after the one with a number.
	History(ctx context.Context, after uint64) (History, error)
	Silences(ctx context.Context) (Silences, error)
	// Watch tells of every connection that ends, until ctx is done or tell returns an error. lost is how many were missed before the
	// list, because tell took too long. It also calls tell with an empty list, once in a beat.
	Watch(ctx context.Context, beat time.Duration, tell func(list []Verdict, lost uint64) error) error
}

// Operator is what clients of the level admin may ask for too.
type Operator interface {
	// Reload reads the configuration again and puts it in force. The strings are warnings.
	Reload(ctx context.Context) (warnings []string, err error)
	// Upgrade starts the program again, and returns when the new process has taken over.
	Upgrade(ctx context.Context) error
	// LogCounters writes every counter to the log, as SIGUSR1 does.
	LogCounters(ctx context.Context) error
	SetServer(ctx context.Context, name ServerName, to ServerChange) error
	// SetDelay sets the delay of a frontend; nil stands for what the configuration says.
	SetDelay(ctx context.Context, frontend string, delay *time.Duration) error
	// EnableFrontend has a frontend take new connections or not; those that it has go on.
	EnableFrontend(ctx context.Context, frontend string, on bool) error
	// Kill ends connections. Those that wait for a server get a 421 with reply; all others are reset.
	Kill(ctx context.Context, f ConnectionFilter, reply bool) (ended int, err error)
	GrantPass(ctx context.Context, client netip.Addr) error
	// TakePasses takes the passes of clients, and returns how many had one.
	TakePasses(ctx context.Context, clients []netip.Addr) (taken int, err error)
	// ForgetRates has the rates of clients begin at 0 again, and returns how many were more. Open connections stay counted.
	ForgetRates(ctx context.Context, clients []netip.Addr) (forgotten int, err error)
	// ListOffender makes the client that an address belongs to, or that a network is, an offender; left is 0 for as long as the
	// configuration says. It returns the client.
	ListOffender(ctx context.Context, who netip.Prefix, left time.Duration) (client netip.Prefix, err error)
	// ForgiveOffender forgets the offences of the client that an address belongs to, or that a network is.
	ForgiveOffender(ctx context.Context, who netip.Prefix) (client netip.Prefix, found bool, err error)
}
