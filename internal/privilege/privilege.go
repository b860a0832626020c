package privilege

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// needed are the capabilities that stay, and what for.
var needed = []struct {
	value cap.Value
	what  string
}{
	{cap.NET_ADMIN, "the firewall rules, the receive queues"},
	{cap.NET_RAW, "the packet sockets"},
}

// MissingError reports that the process was not given what a gateway needs.
type MissingError struct{ Missing []string }

// Error says what is missing, and how the process gets it.
func (e *MissingError) Error() string {
	return "missing capabilities: " + strings.Join(e.Missing, ", ") +
		": start it as root, or with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in the unit of systemd"
}

// Drop leaves the process the capabilities that a gateway needs, in all sets of all threads; programs that it starts get
// them too, whoever runs it, and can get no others: no_new_privs is set. With a name, the process becomes that user, with
// the user's groups. What has been done already, as by systemd, is not done again, so that a filter of system calls need
// not allow it. The error is a MissingError if a needed capability is not there. After any other error the process is in
// a state between and should end.
func Drop(name string) error {
	if err := Check(); err != nil {
		return err
	}
	if err := become(name); err != nil {
		return err
	}
	if err := limit(); err != nil {
		return fmt.Errorf("drop the capabilities: %w", err)
	}
	if set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && set == 1 {
		return nil
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}

// Check is whether the process has what a gateway needs; the error is a MissingError if not.
func Check() error {
	have := cap.GetProc()
	var missing []string
	for _, n := range needed {
		if there, err := have.GetFlag(cap.Permitted, n.value); err != nil || !there {
			missing = append(missing, fmt.Sprintf("%s (%s)", strings.ToUpper(n.value.String()), n.what))
		}
	}
	if missing != nil {
		return &MissingError{missing}
	}
	return nil
}

// become changes the user of all threads, and keeps the capabilities.
func become(name string) error {
	if name == "" {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("run as user %s: %w", name, err)
	}
	names, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("find the groups of user %s: %w", name, err)
	}
	ids, err := numbers(append([]string{u.Uid, u.Gid}, names...))
	if err != nil {
		return fmt.Errorf("run as user %s: %w", name, err)
	}
	if ids[0] == unix.Getuid() && ids[0] == unix.Geteuid() {
		return nil
	}
	if err := cap.SetGroups(ids[1], ids[2:]...); err != nil {
		return fmt.Errorf("take the groups of user %s: %w (needed: CAP_SETGID)", name, err)
	}
	if err := cap.SetUID(ids[0]); err != nil {
		return fmt.Errorf("become user %s: %w (needed: CAP_SETUID)", name, err)
	}
	return nil
}

func numbers(words []string) (ids []int, err error) {
	for _, w := range words {
		id, err := strconv.Atoi(w)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// limit makes all sets of capabilities what they should be. Without CAP_SETPCAP the bounding set stays: no_new_privs
// makes it one that nothing can be got from.
func limit() error {
	sets := cap.NewSet()
	rest := cap.NewIAB()
	for _, n := range needed {
		if err := errors.Join(
			sets.SetFlag(cap.Permitted, true, n.value), sets.SetFlag(cap.Effective, true, n.value),
			sets.SetFlag(cap.Inheritable, true, n.value), rest.SetVector(cap.Amb, true, n.value),
		); err != nil {
			return err
		}
	}
	have := cap.GetProc()
	if may, err := have.GetFlag(cap.Permitted, cap.SETPCAP); err == nil && may {
		for v := range cap.MaxBits() {
			if keeps, err := sets.GetFlag(cap.Permitted, v); err != nil || keeps {
				continue
			}
			if err := rest.SetVector(cap.Bound, true, v); err != nil { // raised is: blocked
				return err
			}
		}
	}
	if done, err := have.Cf(sets); err == nil && done == 0 && ambient() {
		return nil
	}
	if err := rest.SetProc(); err != nil { // inheritable, ambient and bounding
		return err
	}
	return sets.SetProc()
}

// ambient is whether programs that are started have what is needed.
func ambient() bool {
	for _, n := range needed {
		if there, err := cap.GetAmbient(n.value); err != nil || !there {
			return false
		}
	}
	return true
}
