// Output register of one unit of a pipelined array: filled when the unit has its result, then part of
// its row's shift register, which moves right once the fold's last register is full.
module output_register (
    input logic clock,
    input logic enable,
    input logic fill,
    input logic signed [31:0] value,
    input logic vacate,  // what it holds moves on and nothing follows
    input logic shift,
    input logic signed [31:0] from_left,
    output logic full,
    output logic signed [31:0] kept
);
  logic holds = 0;
  assign full = holds;
  always_ff @(posedge clock)
    if (enable) begin
      if (fill && holds) $fatal(1, "a result meets the one before it in an output register");
      if (fill) holds <= 1;
      else if (vacate) holds <= 0;
      if (shift) kept <= from_left;
      else if (fill) kept <= value;
    end
endmodule
