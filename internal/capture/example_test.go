package capture_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"hushgate/internal/capture"
	"hushgate/internal/wire"
)

// A Writer writes pcapng; a Reader reads it again, and a Framer converts each packet to a frame for wire.Decoder.
func Example() {
	frame := wire.NewBuilder().Append(nil, &wire.Header{
		Src: wire.AddrFrom4([]byte{198, 18, 0, 10}), SrcPort: 40000, Dst: wire.AddrFrom4([]byte{192, 0, 2, 25}), DstPort: 25,
		Flags: wire.SYN, Wnd: 65535, MSS: 1460, WindowScale: wire.NoScale,
	}, nil)

	var file bytes.Buffer
	w, err := capture.NewWriter(&file, "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	outside, err := w.Interface("outside", capture.LinkEthernet)
	if err != nil {
		fmt.Println(err)
		return
	}
	at := time.Date(2026, 11, 23, 14, 17, 9, 0, time.UTC)
	if err := w.Packet(outside, at, frame[wire.VnetLen:], 0, "the first SYN"); err != nil {
		fmt.Println(err)
		return
	}

	r, err := capture.NewReader("example.pcapng", &file)
	if err != nil {
		fmt.Println(err)
		return
	}
	framer, decoder := capture.NewFramer(), wire.NewDecoder()
	var p capture.Packet
	for {
		if err := r.Next(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			fmt.Println(err) // an *capture.Error: file, offset, and why
			return
		}
		if f, ok := framer.Frame(&p); ok && decoder.Decode(f.Data) == wire.KindTCP {
			s := &decoder.Segment
			fmt.Println(p.Time.Format(time.TimeOnly), p.Link, s.Src, s.Flags, s.Options.MSS)
		}
	}
	// Output: 14:17:09 Ethernet 198.18.0.10 S 1460
}
