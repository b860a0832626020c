package gateway

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/handover"
)

// The control API over TCP. A reload may change all of it, and a takeover hands its listener over like the sockets of the API.

// remoteScheme begins the name of the listener in a takeover. The names of the other sockets are absolute paths.
const remoteScheme = "tcp@"

// remoteOf returns where the API is served over TCP.
func remoteOf(cfg *config.Config) admin.Remote {
	a := &cfg.Global.RemoteAPI
	page := map[string]admin.PageMode{config.PageSignedIn: admin.PageOn, config.PageEveryone: admin.PageOpen}[a.Page]
	return admin.Remote{
		Address: a.Listen, Crt: a.Crt, CAFile: a.CAFile, AdminNames: a.AdminNames, Tokens: a.Tokens, AdminTokens: a.AdminTokens,
		Page: page,
	}
}

// prepareRemote reads what the API's clients over TCP are recognised by. It listens nowhere yet.
func (g *gateway) prepareRemote() (err error) {
	g.remote, err = g.api.Prepare(remoteOf(g.cfg))
	return err
}

// listenRemote listens for clients over TCP, or takes the listener of the old process. Nobody is answered yet.
func (g *gateway) listenRemote(inherited map[string]net.Listener) error {
	if g.remote == nil {
		return nil
	}
	name := remoteScheme + g.remote.Address()
	old := inherited[name]
	delete(inherited, name)
	return g.remote.Listen(old)
}

// changeRemote prepares the API over TCP of a configuration that a reload puts in force.
func (g *gateway) changeRemote(cfg *config.Config) (*admin.Change, error) {
	c, err := g.api.Prepare(remoteOf(cfg))
	if err == nil {
		err = c.Listen(nil)
	}
	return c, err
}

// handRemote hands the listener over.
func (g *gateway) handRemote(conn *handover.Conn) error {
	l, address := g.api.RemoteListener()
	if l == nil {
		return nil
	}
	f, err := l.File()
	if err != nil {
		return fmt.Errorf("hand over the API's listener at %s: %w", address, err)
	}
	return handFiles(conn, fileNote{Socket: remoteScheme + address}, f)
}

// leaveSockets removes the files of sockets that the old process had, and this one has no use for.
func (h *successor) leaveSockets() error {
	var errs []error
	for name := range h.apis {
		if !strings.HasPrefix(name, remoteScheme) {
			errs = append(errs, removeSocket(name))
		}
	}
	return errors.Join(errs...)
}
