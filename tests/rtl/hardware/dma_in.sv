// Brings data from off-chip memory: fetches its descriptor, one word per clock, asks for the data
// and writes what arrives, which it cannot hold up.
module dma_in
  import machine_types::*;
#(
    parameter int BYTES = 8,
    parameter int SETUP = 4
) (
    input logic clock,
    input logic active,
    input command_t head,
    output logic finish,
    output logic request,
    input logic [31:0] arriving,
    output logic [31:0] write_address,
    output logic [BYTES-1:0] write_pad,
    output logic [BYTES-1:0] write_buffer
);
  logic [31:0] fetched = 0;
  logic requested = 0;
  logic [31:0] arrived = 0;

  assign request = active && fetched == SETUP && !requested;
  assign finish = active && arriving != 0 && arrived + arriving >= head.moved;
  assign write_address = head.local_address + arrived;

  // Bytes that only fill up the last burst are dropped.
  always_comb
    for (int b = 0; b < BYTES; b++) begin
      write_pad[b] = b < arriving && arrived + b < head.size && !head.streamed[0];
      write_buffer[b] = b < arriving && arrived + b < head.size && head.streamed[0];
    end

  always_ff @(posedge clock) begin
    if (finish) begin
      fetched <= 0;
      requested <= 0;
      arrived <= 0;
    end else if (active) begin
      if (fetched != SETUP) fetched <= fetched + 1;
      if (request) requested <= 1;
      arrived <= arrived + arriving;
    end
  end
endmodule
