// One engine's commands in order. The head runs as soon as the other engines have finished as many
// commands as it waits for; dispatch takes no clock.
module command_queue
  import machine_types::*;
#(
    parameter string NAME = "",
    parameter int DEPTH = 2048
) (
    input logic clock,
    input logic [31:0] now,
    input logic [ENGINES-1:0][31:0] finished_by,
    input logic finish,
    output logic active,
    output command_t head,
    output logic [31:0] finished,
    output logic empty
);
  command_t commands[DEPTH];
  logic [31:0] count;
  logic begun;
  string file;

  initial begin
    finished = 0;
    begun = 0;
    if (!$value$plusargs({NAME, "_count=%d"}, count)) count = 0;
    if (count > DEPTH) $fatal(1, "more commands than the queue holds");
    if (count > 0 && $value$plusargs({NAME, "=%s"}, file) != 0) $readmemh(file, commands);
  end

  assign head = commands[finished[$clog2(DEPTH)-1:0]];
  assign empty = finished == count;

  always_comb begin
    active = !empty;
    for (int e = 0; e < ENGINES; e++) if (finished_by[e] < head.waits[e]) active = 0;
  end

  always_ff @(posedge clock) begin
    if (active && !begun) $display("%s %0d start %0d", NAME, finished, now);
    begun <= active && !finish;
    if (finish) begin
      $display("%s %0d end %0d", NAME, finished, now + 1);
      finished <= finished + 1;
    end
  end
endmodule
