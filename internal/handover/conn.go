package handover

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Version is the version of the conversation and of all its parts except the records, which describe themselves.
const Version = 1

// Kind is the kind of a message.
type Kind byte

// The kinds.
const (
	Hello   Kind = 'h'
	Head    Kind = 'H'
	Ready   Kind = 'r'
	State   Kind = 's'
	Records Kind = 'R'
	File    Kind = 'f'
	End     Kind = 'e'
	Take    Kind = 't'
	Yours   Kind = 'y'
	No      Kind = 'n'
)

// maxMessage bounds a message: the tables of any configuration, or a batch of records.
const maxMessage = 64 << 20

const headerSize = 5

// RefusedError is the reason that the other side sent instead of continuing.
type RefusedError struct{ Reason string }

// Error quotes the reason.
func (e *RefusedError) Error() string { return "the other hushgate refuses: " + e.Reason }

// Conn is one end of the conversation.
type Conn struct {
	unix *net.UnixConn
	buf  []byte
	ctx  context.Context // see New
	stop func() bool     // detaches ctx; false if it was already done
}

// New returns an end of a conversation over a connection, which the caller must close. When ctx is done, all waiting
// operations fail.
func New(ctx context.Context, c *net.UnixConn) (conn *Conn, release func()) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return &Conn{unix: c, ctx: ctx, stop: stop}, func() { stop() }
}

// Within limits the time for all later operations, until it is called again. It fails when New's ctx is done.
func (c *Conn) Within(d time.Duration) error {
	return errors.Join(c.unix.SetDeadline(time.Now().Add(d)), c.ctx.Err())
}

// Commit makes the conversation ignore New's ctx. It fails if ctx is already done.
func (c *Conn) Commit() error {
	if !c.stop() {
		return c.ctx.Err()
	}
	c.ctx = context.Background()
	return nil
}

// Send sends a message, with a file if file is not nil.
func (c *Conn) Send(k Kind, body []byte, file *os.File) error {
	if len(body) > maxMessage {
		return fmt.Errorf("a message of %d octets is too long to hand over", len(body))
	}
	c.buf = binary.BigEndian.AppendUint32(append(c.buf[:0], byte(k)), uint32(len(body)))
	var err error
	if file == nil {
		_, err = c.unix.Write(c.buf)
	} else {
		err = c.sendFile(file)
	}
	if err == nil && len(body) > 0 { // an empty write could fail although all was sent
		_, err = c.unix.Write(body)
	}
	if err != nil {
		return fmt.Errorf("tell the other hushgate: %w", err)
	}
	return nil
}

// sendFile sends the header with a file.
func (c *Conn) sendFile(file *os.File) error {
	raw, err := file.SyscallConn() // not Fd, which would make the file blocking
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { _, _, sent = c.unix.WriteMsgUnix(c.buf, unix.UnixRights(int(fd)), nil) })
	return errors.Join(err, sent)
}

// SendJSON sends a message whose body is a value as JSON.
func (c *Conn) SendJSON(k Kind, v any, file *os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	return c.Send(k, body, file)
}

// Refuse tells the other side, if it still listens, why the conversation ends.
func (c *Conn) Refuse(reason error) {
	_ = c.unix.SetDeadline(time.Now().Add(lastWord)) // the time limit of earlier operations may be over
	_ = c.Send(No, []byte(reason.Error()), nil)
}

// lastWord is how long Refuse may take.
const lastWord = time.Second

// Receive waits for a message of one of the kinds. The caller owns the body. The file is nil if there was none.
func (c *Conn) Receive(kinds ...Kind) (k Kind, body []byte, file *os.File, err error) {
	k, size, file, err := c.header()
	if err != nil {
		return 0, nil, nil, fmt.Errorf("listen to the other hushgate: %w", err)
	}
	if k != No && !slices.Contains(kinds, k) || size > maxMessage {
		return 0, nil, nil, errors.Join(fmt.Errorf("the other hushgate says %q with %d octets, expected one of %q", k, size, kinds), closeFile(file))
	}
	// The announced length is not trusted: memory grows only with the octets that are received.
	var b bytes.Buffer
	if n, err := io.CopyN(&b, c.unix, int64(size)); err != nil {
		return 0, nil, nil, errors.Join(fmt.Errorf("listen to the other hushgate: %d of %d octets: %w", n, size, err), closeFile(file))
	}
	if k == No {
		return 0, nil, nil, errors.Join(&RefusedError{b.String()}, closeFile(file))
	}
	return k, b.Bytes(), file, nil
}

// ReceiveJSON waits for a message of a kind and reads its body into v. A field that v does not have is an error, because its
// meaning could matter.
func (c *Conn) ReceiveJSON(k Kind, v any) error {
	_, body, file, err := c.Receive(k)
	if err != nil {
		return err
	}
	return errors.Join(Decode(body, v), closeFile(file))
}

// Decode reads JSON that another hushgate wrote. Fields that v lacks, and data after the end of the value, are errors.
func Decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("understand the other hushgate: %w", err)
	}
	if d.More() {
		return errors.New("understand the other hushgate: unexpected data after the end of the JSON value")
	}
	return nil
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// header reads a message's header, and the file that came with it.
func (c *Conn) header() (k Kind, size uint32, file *os.File, err error) {
	head, oob := make([]byte, headerSize), make([]byte, unix.CmsgSpace(4*maxFiles))
	for got := 0; got < headerSize; {
		n, oobn, _, _, err := c.unix.ReadMsgUnix(head[got:], oob)
		f, ferr := fileOf(oob[:oobn])
		if f != nil {
			ferr = errors.Join(ferr, closeFile(file))
			file = f
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err = errors.Join(err, ferr); err != nil {
			return 0, 0, nil, errors.Join(err, closeFile(file))
		}
		got += n
	}
	return Kind(head[0]), binary.BigEndian.Uint32(head[1:]), file, nil
}

// maxFiles is how many files a message may bring. One is expected; others are closed.
const maxFiles = 16

func fileOf(oob []byte) (file *os.File, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read what came with a message: %w", err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // no files
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			if file == nil {
				file = os.NewFile(uintptr(fd), "handed over")
			} else {
				_ = unix.Close(fd)
			}
		}
	}
	return file, nil
}
