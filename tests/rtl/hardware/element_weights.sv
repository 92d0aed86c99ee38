// One unit of an array with stationary weights: multiplies what passes from left to right by its
// weight and adds it to the sum that passes downward. STAGES registers lie between its operands and
// its sum, one more before the unit below.
module element_weights #(
    parameter int WIDTH = 8,
    parameter int STAGES = 3
) (
    input logic clock,
    input logic enable,
    // The weight chain moves down; ``take`` puts what the chain will hold to work.
    input logic shift,
    input logic take,
    input logic signed [WIDTH-1:0] weight_above,
    output logic signed [WIDTH-1:0] weight_kept,
    input logic signed [WIDTH-1:0] left,
    input logic signed [31:0] sum_above,
    output logic signed [31:0] tapped,
    output logic signed [31:0] sum
);
  logic signed [WIDTH-1:0] weight = 0;
  logic signed [31:0] stage[STAGES+1];
  logic signed [31:0] added;

  initial begin
    weight_kept = 0;
    for (int i = 0; i <= STAGES; i++) stage[i] = 0;
  end

  assign added = sum_above + 32'(left) * 32'(weight);
  assign sum = stage[STAGES];
  if (STAGES == 0) begin : at_once
    assign tapped = added;
  end else begin : registered
    assign tapped = stage[STAGES-1];
  end

  always_ff @(posedge clock)
    if (enable) begin
      if (shift) weight_kept <= weight_above;
      if (take) weight <= shift ? weight_above : weight_kept;
      stage[0] <= added;
      for (int i = 1; i <= STAGES; i++) stage[i] <= stage[i-1];
    end
endmodule
