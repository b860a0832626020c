package admin

import "context"

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
}

// Operator is what clients of the level admin may ask for too.
type Operator interface {
	// Reload reads the configuration again and puts it in force. The strings are warnings.
	Reload(ctx context.Context) (warnings []string, err error)
	// Upgrade starts the program again, and returns when the new process has taken over.
	Upgrade(ctx context.Context) error
	// LogCounters writes every counter to the log, as SIGUSR1 does.
	LogCounters(ctx context.Context) error
}
