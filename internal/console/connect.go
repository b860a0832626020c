package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/admin"
	"hushgate/internal/instance"
)

// The package's service has its sockets here.
const runtimeDirectory = "/run/hushgate"

// askPatience is how long an answer may take. The gateway gives up earlier.
const askPatience = 20 * time.Second

var (
	// ErrNone reports that no gateway answers.
	ErrNone = errors.New("no gateway runs")
	// ErrDenied reports that this user may not do what was asked.
	ErrDenied = errors.New("permission denied")

	errLate = fmt.Errorf("the gateway has not answered within %v", askPatience)
)

// Client asks the running gateway.
type Client struct {
	api    *admin.Client
	socket string
}

// Connect returns a client of the gateway at a socket. If there is none given, root asks the gateway of this network namespace,
// and other users ask at the sockets of the service that their groups open to them.
func Connect(socket string) *Client {
	c := &Client{socket: socket}
	switch {
	case socket != "":
		c.api = admin.Unix(socket)
	case os.Geteuid() == 0:
		c.api = admin.NewClient(instance.Dial)
	default:
		c.api = admin.NewClient(func(ctx context.Context) (net.Conn, error) { return dialAsUser(ctx, runtimeDirectory) })
	}
	return c
}

// dialAsUser connects to the socket of the highest level that this user may use.
func dialAsUser(ctx context.Context, dir string) (net.Conn, error) {
	var d net.Dialer
	var denied error
	for _, name := range []string{"admin.sock", "api.sock"} {
		conn, err := d.DialContext(ctx, "unix", filepath.Join(dir, name))
		if err == nil {
			return conn, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			denied = err
		}
	}
	if denied != nil {
		return nil, denied
	}
	return instance.Dial(ctx) // the user may be hushgate's own
}

// ask sends a request and reads its answer.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, askPatience, errLate)
	defer cancel()
	for {
		err := c.api.Ask(ctx, method, path, query, body, answer)
		var p *admin.Problem
		if errors.As(err, &p) && p.Status == http.StatusTooManyRequests && pause(ctx) == nil {
			continue // others ask too, or this is a long list
		}
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return c.explain(err)
	}
}

func (c *Client) get(ctx context.Context, path string, answer any) error {
	return c.ask(ctx, http.MethodGet, path, nil, nil, answer)
}

// explain says what an error means for the person at the terminal.
func (c *Client) explain(err error) error {
	var p *admin.Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p) && p.Status == http.StatusForbidden:
		return fmt.Errorf("%w: %s; root and the group api.admin-group of the configuration have that level", ErrDenied, p.Detail)
	case p != nil:
		return p
	case errors.Is(err, instance.ErrNone):
		return fmt.Errorf("%w in this network namespace", ErrNone)
	case errors.Is(err, fs.ErrPermission) && c.socket != "":
		return fmt.Errorf("%w: this user may not connect to %s", ErrDenied, c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: root, and members of the groups api.group and api.admin-group of the configuration, may ask the gateway", ErrDenied)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w: nothing answers at %s", ErrNone, c.socket)
	case errors.Is(err, admin.ErrNoAPI) && c.socket == "" && os.Geteuid() != 0:
		return fmt.Errorf("%w: root, hushgate's own user, and members of the groups api.group and api.admin-group may ask the gateway", ErrDenied)
	case errors.Is(err, admin.ErrNoAPI) && c.socket == "":
		return fmt.Errorf("%w: after `hushgate upgrade` to this release it has one", err)
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("the gateway has closed the connection without an answer: too many clients ask it, or it is ending: %w", err)
	}
	return err
}
