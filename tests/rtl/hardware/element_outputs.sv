// One unit of an array with stationary outputs. STAGES registers lie between its operands and its
// result: products, then the sum; with none it multiplies and adds within the clock.
module element_outputs #(
    parameter int WIDTH = 8,
    parameter int STAGES = 0
) (
    input logic clock,
    input logic enable,
    input logic valid,
    input logic first,
    input logic last,
    input logic signed [WIDTH-1:0] left,
    input logic signed [WIDTH-1:0] right,
    output logic done,
    output logic signed [31:0] result
);
  typedef struct packed {
    logic valid;
    logic first;
    logic last;
    logic signed [31:0] product;
  } term_t;

  logic signed [31:0] sum = 0;
  term_t entering, adding;
  assign entering = '{valid, first, last, 32'(left) * 32'(right)};

  if (STAGES <= 1) begin : direct
    assign adding = entering;
  end else begin : piped
    term_t stage[STAGES-1];
    initial for (int i = 0; i < STAGES - 1; i++) stage[i] = '0;
    always_ff @(posedge clock)
      if (enable) begin
        stage[0] <= entering;
        for (int i = 1; i < STAGES - 1; i++) stage[i] <= stage[i-1];
      end
    assign adding = stage[STAGES-2];
  end

  logic signed [31:0] total;
  assign total = (adding.first ? 0 : sum) + adding.product;
  always_ff @(posedge clock) if (enable && adding.valid) sum <= total;

  if (STAGES == 0) begin : at_once
    assign done = adding.valid && adding.last;
    assign result = total;
  end else begin : registered
    logic over = 0;
    always_ff @(posedge clock) if (enable) over <= adding.valid && adding.last;
    assign done = over;
    assign result = sum;
  end
endmodule
