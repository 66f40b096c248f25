-- Tells the other nodes which ranks left the line shortly before it was lost. The last changes may
-- not have reached all nodes, and no node may tell a visitor a larger number than another has told.
-- ARGV 1 epoch that followed the loss, 2 ranks
-- Returns nothing.
-- Atomic, because the line may begin anew once more at the same moment.
if epoch_of_line() == ARGV[1] then tell(ARGV[1], 'y', ARGV[2]) end
