package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"hushgate/internal/admin"
	"hushgate/internal/instance"
	"hushgate/internal/printable"
)

// Action is what the gateway can be asked to do as a whole.
type Action string

// The actions.
const (
	Reload  Action = "reload"
	Upgrade Action = "upgrade"
)

// Act has the gateway carry out an action, however long that takes. Warnings are written on notes, or to w as JSON.
func (c *Client) Act(ctx context.Context, w, notes io.Writer, asJSON bool, action Action) error {
	a, err := c.act(ctx, action)
	var p *admin.Problem
	if errors.As(err, &p) {
		a.Warnings = p.Warnings
	}
	if asJSON && (err == nil || p != nil) {
		return errors.Join(err, writeJSON(w, admin.Warnings{Warnings: append([]string{}, a.Warnings...)}))
	}
	for _, text := range a.Warnings {
		_, _ = fmt.Fprintln(notes, printable.Text(text))
	}
	return err
}

// act asks the gateway of this network namespace first, whoever asks: a service's manager runs the command as the service's own user,
// and may have several services in namespaces of their own. Then it asks at the sockets that groups may use.
func (c *Client) act(ctx context.Context, action Action) (a admin.Warnings, err error) {
	if c.socket == "" {
		err = admin.NewClient(instance.Dial).Ask(ctx, http.MethodPost, "/v1/"+string(action), nil, nil, &a)
		if errors.Is(err, admin.ErrNoAPI) {
			a, err = actOlder(ctx, action)
		}
		elsewhere := errors.Is(err, instance.ErrNone) || errors.Is(err, ErrDenied)
		if !elsewhere || os.Geteuid() == 0 {
			return a, c.explain(err)
		}
	}
	return a, c.explain(c.api.Ask(ctx, http.MethodPost, "/v1/"+string(action), nil, nil, &a))
}

// actOlder sends the action as a command: a gateway of a release that has no API yet understands it, so that an upgrade can begin. A
// newer one answers it to users whom it does not trust.
func actOlder(ctx context.Context, action Action) (a admin.Warnings, err error) {
	answer, err := instance.Ask(ctx, string(action))
	if err != nil {
		return a, err
	}
	a.Warnings = answer.Warnings
	if why, denied := strings.CutPrefix(answer.Error, ErrDenied.Error()+": "); denied {
		return a, fmt.Errorf("%w: %s", ErrDenied, why)
	}
	if answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return a, err
}
