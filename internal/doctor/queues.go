package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"hushgate/internal/instance"
)

// queue is a packet socket's receive queue (linux/packet_diag.h).
type queue struct {
	inode uint32
	drops uint32 // frames that found no room in it
}

// The kernel's numbers in linux/packet_diag.h and linux/sock_diag.h that golang.org/x/sys lacks.
const (
	packetDiagMemInfo = 6    // PACKET_DIAG_MEMINFO: the attribute
	packetShowMemInfo = 0x10 // PACKET_SHOW_MEMINFO: asks for it
	memInfoDrops      = 8    // SK_MEMINFO_DROPS: the index of its word
)

// packetRequest asks for all packet sockets of this network namespace (struct packet_diag_req, 20 octets).
type packetRequest struct{}

func (packetRequest) Len() int { return 20 }

func (packetRequest) Serialize() []byte {
	b := make([]byte, 20)
	b[0] = unix.AF_PACKET
	binary.NativeEndian.PutUint32(b[8:], packetShowMemInfo)
	return b
}

// queues reads the receive queues of all packet sockets of this network namespace.
func queues() (list []queue, err error) {
	r := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	r.AddData(packetRequest{})
	answers, err := r.Execute(unix.NETLINK_INET_DIAG, 0)
	if err != nil {
		return nil, fmt.Errorf("ask the kernel for its packet sockets: %w", err)
	}
	for _, a := range answers {
		if q, ok := readQueue(a); ok {
			list = append(list, q)
		}
	}
	return list, nil
}

// readQueue reads a struct packet_diag_msg and its attributes. The kernel pads attributes to whole words, and the parser takes that for
// granted.
func readQueue(b []byte) (q queue, ok bool) {
	if len(b) < 16 || len(b)%unix.NLA_ALIGNTO != 0 {
		return q, false
	}
	q.inode = binary.NativeEndian.Uint32(b[4:])
	attrs, err := nl.ParseRouteAttr(b[16:])
	if err != nil {
		return q, false
	}
	for _, a := range attrs {
		if a.Attr.Type == packetDiagMemInfo && len(a.Value) >= 4*(memInfoDrops+1) {
			q.drops, ok = binary.NativeEndian.Uint32(a.Value[4*memInfoDrops:]), true
		}
	}
	return q, ok
}

// queueLosses examines the receive queues of the hushgate that runs here.
func queueLosses(ctx context.Context) []Finding {
	pid, err := instance.Holder(ctx)
	if err != nil || pid == 0 {
		return nil
	}
	own, err := sockets(pid)
	if err != nil {
		return []Finding{{Subject: "receive queues", Grade: Unknown, Found: err.Error(), Mend: "run doctor as root"}}
	}
	list, err := queues()
	if err != nil {
		return []Finding{{Subject: "receive queues", Grade: Unknown, Found: err.Error()}}
	}
	n, drops := 0, uint64(0)
	for _, q := range list {
		if own[q.inode] {
			n++
			drops += uint64(q.drops)
		}
	}
	switch {
	case n == 0:
		return []Finding{{Subject: "receive queues", Grade: Fault, Found: fmt.Sprintf("process %d has no packet socket", pid), Means: "it hears nobody", Mend: "systemctl restart hushgate"}}
	case drops > 0:
		return []Finding{{
			Subject: "receive queues", Grade: Warning, Found: fmt.Sprintf("%d frames found no room in hushgate's %d queues", drops, n),
			Means: "clients and servers send them again, later", Mend: "raise receive-buffer, or give hushgate more processors (shards)",
		}}
	}
	return []Finding{{Subject: "receive queues", Found: fmt.Sprintf("hushgate's %d packet sockets have lost nothing", n)}}
}

// sockets returns the inode numbers of a process's sockets.
func sockets(pid int) (map[uint32]bool, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the sockets of process %d: %w", pid, errors.Unwrap(err))
	}
	set := map[uint32]bool{}
	for _, f := range files {
		to, _ := os.Readlink(dir + "/" + f.Name()) // it may be closed by now
		var inode uint32
		if rest, ok := strings.CutPrefix(to, "socket:["); ok {
			if _, err := fmt.Sscanf(rest, "%d]", &inode); err == nil {
				set[inode] = true
			}
		}
	}
	return set, nil
}
