// Takes data to off-chip memory: fetches its descriptor, one word per clock, then sends as much per
// clock as memory takes.
module dma_out
  import machine_types::*;
#(
    parameter int SETUP = 4
) (
    input logic clock,
    input logic active,
    input command_t head,
    output logic finish,
    // ``offer``: there is data; ``ready``: the scratchpad delivers it in this clock.
    output logic offer,
    input logic ready,
    input logic [31:0] taken,
    output logic [31:0] sent,
    output logic [31:0] read_address
);
  logic [31:0] fetched = 0;

  initial sent = 0;

  assign offer = active && fetched == SETUP;
  assign finish = offer && ready && sent + taken >= head.moved;
  assign read_address = head.local_address + sent;

  always_ff @(posedge clock) begin
    if (finish) begin
      fetched <= 0;
      sent <= 0;
    end else if (active) begin
      if (fetched != SETUP) fetched <= fetched + 1;
      if (offer && ready) sent <= sent + taken;
    end
  end
endmodule
