package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/printable"
)

// Servers lists the servers.
func (c *Client) Servers(ctx context.Context, w io.Writer, asJSON bool) error {
	var s admin.Servers
	if err := c.get(ctx, "/v1/servers", &s); err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, s.Servers)
	}
	return showServers(w, s.Servers)
}

// serverPath is where the API has a server that a person calls backend/server.
func serverPath(name string) (string, error) {
	backend, server, ok := strings.Cut(name, "/")
	if !ok || backend == "" || server == "" || strings.Contains(server, "/") || server == "." || server == ".." {
		return "", fmt.Errorf("expected backend/server, such as bk/mx1, found %q", name)
	}
	return "/v1/servers/" + url.PathEscape(backend) + "/" + url.PathEscape(server), nil
}

// SetServers changes servers one after the other, and shows how they are then. Wrong names are found before anything is changed.
func (c *Client) SetServers(ctx context.Context, w io.Writer, asJSON bool, names []string, to admin.ServerChange) error {
	var paths []string
	for _, name := range names {
		path, err := serverPath(name)
		if err != nil {
			return err
		}
		if err := c.get(ctx, path, nil); err != nil {
			return err
		}
		paths = append(paths, path)
	}
	var all []admin.Server
	for i, path := range paths {
		var s admin.Server
		if err := c.ask(ctx, http.MethodPatch, path, nil, changeOf(&to), &s); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", names[i], err), shown(w, all, asJSON))
		}
		all = append(all, s)
	}
	return shown(w, all, asJSON)
}

// shown shows what servers are like after a change.
func shown(w io.Writer, all []admin.Server, asJSON bool) error {
	switch {
	case len(all) == 0:
		return nil
	case asJSON:
		return writeJSON(w, all)
	}
	return showServers(w, all)
}

// changeOf writes only what is to change: null would stand for the configuration's value.
func changeOf(to *admin.ServerChange) map[string]any {
	body := map[string]any{}
	if to.State != nil {
		body["state"] = *to.State
	}
	if to.Weight.Set {
		body["weight"] = to.Weight.Value
	}
	if to.Checks != nil {
		body["checks"] = *to.Checks
	}
	return body
}

// WaitIdle waits until servers have no connections.
func (c *Client) WaitIdle(ctx context.Context, names []string) error {
	for _, name := range names {
		path, err := serverPath(name)
		if err != nil {
			return err
		}
		if err := c.waitIdle(ctx, name, path); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) waitIdle(ctx context.Context, name, path string) error {
	for {
		var s admin.Server
		if err := c.get(ctx, path, &s); err != nil {
			return err
		}
		if s.Connections == 0 {
			return nil
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("%s still has %d connections: %w", name, s.Connections, err)
		}
	}
}

// SetDelay sets the delay of a frontend; nil stands for what the configuration says.
func (c *Client) SetDelay(ctx context.Context, w io.Writer, asJSON bool, frontend string, delay *time.Duration) error {
	var ms *int64
	if delay != nil {
		n := delay.Milliseconds()
		ms = &n
	}
	f, err := c.changeFrontend(ctx, frontend, &admin.FrontendChange{DelayMs: admin.Optional[*int64]{Set: true, Value: ms}})
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, f)
	}
	_, err = fmt.Fprintf(w, "%s: the delay of new clients is %s; the configuration says %s\n", f.Name, span(f.DelayMs), span(f.ConfiguredDelayMs))
	return ignoreClosed(err)
}

// EnableFrontend has a frontend take new connections, or not, and says what it does now.
func (c *Client) EnableFrontend(ctx context.Context, w io.Writer, asJSON bool, frontend string, on bool) error {
	off := !on
	f, err := c.changeFrontend(ctx, frontend, &admin.FrontendChange{Disabled: &off})
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, f)
	}
	does := "takes new connections"
	if f.Disabled {
		does = "refuses new connections"
	}
	_, err = fmt.Fprintf(w, "%s: %s; %d connections go on\n", f.Name, does, f.Connections)
	return ignoreClosed(err)
}

func (c *Client) changeFrontend(ctx context.Context, frontend string, to *admin.FrontendChange) (f *admin.Frontend, err error) {
	if frontend == "" || strings.Contains(frontend, "/") || frontend == "." || frontend == ".." {
		return nil, fmt.Errorf("expected the name of a frontend, found %q", frontend)
	}
	err = c.ask(ctx, http.MethodPatch, "/v1/frontends/"+url.PathEscape(frontend), nil, to, &f)
	return f, err
}

// ServerNames lists the servers for the completion of a command.
func (c *Client) ServerNames(ctx context.Context) (names []string) {
	var s admin.Servers
	if c.get(ctx, "/v1/servers", &s) != nil {
		return nil
	}
	for i := range s.Servers {
		if v := &s.Servers[i]; !v.Removed {
			names = append(names, v.Backend+"/"+v.Name+"\t"+printable.Text(v.Address+", "+stateOf(v)))
		}
	}
	return names
}

// FrontendNames lists the frontends for the completion of a command.
func (c *Client) FrontendNames(ctx context.Context) (names []string) {
	var f admin.Frontends
	if c.get(ctx, "/v1/frontends", &f) != nil {
		return nil
	}
	for i := range f.Frontends {
		if v := &f.Frontends[i]; !v.Removed {
			names = append(names, v.Name+"\tdelay "+span(v.DelayMs))
		}
	}
	return names
}

// PhaseNames lists the phases of connections for the completion of a command.
func (c *Client) PhaseNames(ctx context.Context) []string {
	var s admin.Status
	if c.get(ctx, "/v1/status", &s) != nil {
		return nil
	}
	return inOrder(s.Connections)
}
