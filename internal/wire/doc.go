// Package wire holds hushgate's knowledge of octets: the offsets of fields in a frame, the order of sequence numbers, and how a
// checksum changes with a field. No other package knows an offset.
//
// A frame, everywhere in hushgate, is a byte slice: a virtio_net_hdr of VnetLen octets (in host byte order), the Ethernet
// header, and the packet. PACKET_VNET_HDR makes the kernel put the virtio header there. It says whether the TCP checksum is
// complete, is only the sum of the pseudo-header, or was verified by the hardware; and whether the frame is a super-frame that
// stands for several segments. Drivers without this information leave it zero.
//
// Numbers are in network byte order inside frames and in host byte order in every Go value.
package wire
