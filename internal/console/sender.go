package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/explain"
)

// Sender shows everything that the gateway knows of the clients of a network, with the most recent connections.
func (c *Client) Sender(ctx context.Context, w io.Writer, asJSON bool, who netip.Prefix, most int) error {
	name := who.String()
	if who.IsSingleIP() {
		name = who.Addr().String()
	}
	var v admin.Explanation
	err := c.ask(ctx, http.MethodGet, "/v1/explain/"+url.PathEscape(name), url.Values{"limit": {strconv.Itoa(most)}}, nil, &v)
	var p *admin.Problem
	switch {
	case errors.As(err, &p) && p.Status == http.StatusNotFound:
		return errors.New("the gateway that runs is of an older release, which cannot explain: `hushgate upgrade` replaces it by this one")
	case err != nil:
		return err
	}
	return showSender(w, asJSON, &v, explain.Gateway)
}

// SenderInLogs shows what log files say of the clients of a network. What can be read is shown also if there is an error.
func SenderInLogs(w io.Writer, asJSON bool, files []string, who netip.Prefix, most int) error {
	v, failed := explain.Logs(files, who, most, time.Now())
	return errors.Join(showSender(w, asJSON, &v, explain.FromLogs), failed)
}

// SenderInCaptures is SenderInLogs for captures; ports are those of services. What is left out is said on notes.
func SenderInCaptures(ctx context.Context, w, notes io.Writer, asJSON bool, files []string, ports []uint16, who netip.Prefix, most int) error {
	v, remarks, failed := explain.Captures(ctx, files, ports, who, most)
	for _, r := range remarks {
		_, _ = fmt.Fprintln(notes, r)
	}
	return errors.Join(showSender(w, asJSON, &v, explain.FromCaptures), failed)
}

func showSender(w io.Writer, asJSON bool, v *admin.Explanation, from explain.Source) error {
	if asJSON {
		return writeJSON(w, v)
	}
	return ignoreClosed(explain.Write(w, v, from))
}
