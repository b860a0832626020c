package gateway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/runtimeapi"
)

// The control API has a socket of each level in the file system. Their permissions say who may connect.

// apiSocket is one of them.
type apiSocket struct {
	path  string
	level admin.Level
	user  string // empty: the process's own
	group string // empty: the process's own
	mode  uint32
	l     net.Listener
	fresh bool // this process has made it

	stats      bool // it serves HAProxy's commands instead
	statsLevel runtimeapi.Level
}

// apiSockets lists the sockets that a configuration asks for. runtime is the service's runtime directory; empty if there is none.
func apiSockets(c *config.API, runtime string) (list []*apiSocket) {
	runtime, _, _ = strings.Cut(runtime, ":") // systemd.exec(5): there may be several
	add := func(path, name, group string, level admin.Level, mode uint32) {
		if path == "" && runtime != "" {
			path = filepath.Join(runtime, name)
		}
		if path != "" && path != config.NoFile {
			list = append(list, &apiSocket{path: path, level: level, group: group, mode: mode})
		}
	}
	add(c.Socket, "api.sock", c.Group, admin.ReadOnly, 0o660)
	mode := uint32(0o600)
	if c.AdminGroup != "" {
		mode = 0o660
	}
	add(c.AdminSocket, "admin.sock", c.AdminGroup, admin.Admin, mode)
	return list
}

// openSockets opens the sockets of the API. Those that the old process had at the same paths go on, with the clients that wait there.
func (g *gateway) openSockets(inherited map[string]net.Listener) error {
	list := apiSockets(&g.cfg.Global.API, os.Getenv("RUNTIME_DIRECTORY"))
	for _, s := range append(list, statsSockets(&g.cfg.Global.Stats)...) {
		g.sockets = append(g.sockets, s)
		if s.l = inherited[s.path]; s.l != nil {
			delete(inherited, s.path)
			if err := s.permit(); err != nil && !s.optional(g.log, err) {
				return err
			}
			continue
		}
		if err := s.open(); err != nil && !s.optional(g.log, err) {
			return err
		}
	}
	return g.listenRemote(inherited)
}

// listeners returns the open sockets for the API.
func (g *gateway) listeners() (list []net.Listener) {
	for _, s := range g.sockets {
		if s.stats {
			continue
		}
		list = append(list, &admin.Listener{Listener: s.l, Level: s.level})
	}
	return list
}

// closeSockets closes the sockets, and removes them from the file system unless they belong to another process.
func (g *gateway) closeSockets() error {
	var errs []error
	g.remote.Abandon() // if it was never used; otherwise it is closed
	for _, s := range g.sockets {
		if s.l == nil {
			continue
		}
		if err := s.l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
		if mine := !g.given && (g.successor == nil || s.fresh); mine {
			errs = append(errs, removeSocket(s.path))
		}
	}
	return errors.Join(errs...)
}

func removeSocket(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// open makes the socket. Nobody can connect before its permissions are right: it listens only then.
func (s *apiSocket) open() error {
	if err := s.clear(); err != nil {
		return s.wrap(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return s.wrap(err)
	}
	f := os.NewFile(uintptr(fd), s.path)
	defer func() { _ = f.Close() }() // net has a copy
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: s.path}); err != nil {
		return s.wrap(err)
	}
	err = s.permit()
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err == nil {
		s.l, err = net.FileListener(f)
	}
	if err != nil {
		return errors.Join(s.wrap(err), removeSocket(s.path))
	}
	s.fresh = true
	return nil
}

func (s *apiSocket) wrap(err error) error {
	var failed *socketError
	if errors.As(err, &failed) {
		return err
	}
	return &socketError{fmt.Errorf("open the API's socket %s: %w", s.path, err)}
}

// socketError is an error that names its socket.
type socketError struct{ error }

func (e *socketError) Unwrap() error { return e.error }

// clear removes the socket of a process that is gone.
func (s *apiSocket) clear() error {
	info, err := os.Lstat(s.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return errors.New("the file exists and is not a socket")
	}
	conn, err := net.DialTimeout("unix", s.path, time.Second)
	if err == nil {
		return errors.Join(errors.New("another process listens there"), conn.Close())
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("find out whether a process listens there: %w", err)
	}
	return os.Remove(s.path)
}

// give changes the socket's user, unless uid is -1, and its group. If it has both already, it leaves them alone: a sandbox may
// forbid the system call.
func (s *apiSocket) give(uid, gid int) error {
	var now unix.Stat_t
	if err := unix.Lstat(s.path, &now); err != nil {
		return err
	}
	if (uid < 0 || int(now.Uid) == uid) && int(now.Gid) == gid {
		return nil
	}
	return os.Lchown(s.path, uid, gid)
}

// permit sets the socket's group and mode.
func (s *apiSocket) permit() error {
	uid, gid, err := s.owner()
	if err != nil {
		return s.wrap(err)
	}
	if err := s.give(uid, gid); err != nil {
		if errors.Is(err, unix.EPERM) && s.user != "" {
			err = fmt.Errorf("give it to the user %s: only root may: %w", s.user, err)
		} else if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("give it to the group %s: the user that hushgate runs as must be a member, and its service may need SystemCallFilter=@chown: %w", s.group, err)
		}
		return s.wrap(err)
	}
	if err := unix.Chmod(s.path, s.mode); err != nil {
		return s.wrap(err)
	}
	return nil
}

// owner looks up who is to own the socket.
func (s *apiSocket) owner() (uid, gid int, err error) {
	uid, gid = -1, os.Getegid()
	if s.user != "" {
		u, err := user.Lookup(s.user)
		if err != nil {
			u, err = user.LookupId(s.user)
		}
		if err == nil {
			uid, err = strconv.Atoi(u.Uid)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	if s.group == "" {
		return uid, gid, nil
	}
	g, err := user.LookupGroup(s.group)
	if err != nil && s.stats {
		if n, wrong := strconv.Atoi(s.group); wrong == nil {
			return uid, n, nil // `gid` needs no name
		}
	}
	if err == nil {
		gid, err = strconv.Atoi(g.Gid)
	}
	return uid, gid, err
}
